// Light or dark: what the system prefers, until the reader chooses; the choice is kept in this browser.

const KEPT = "flaskd-theme";
const preferred = matchMedia("(prefers-color-scheme: dark)");

function chosen() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null; // a browser that keeps nothing
  }
}

function keep(theme) {
  try {
    localStorage.setItem(KEPT, theme);
  } catch {
    // It holds until the page is closed.
  }
}

function use(theme) {
  document.documentElement.dataset.theme = theme;
}

export const isDark = () => {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : preferred.matches;
};

/** Make `button` switch between the themes. */
export function themeButton(button) {
  const show = () => button.setAttribute("aria-pressed", String(isDark()));
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    use(theme);
    keep(theme);
    show();
  });
  preferred.addEventListener("change", show);
  show();
}

if (["light", "dark"].includes(chosen())) use(chosen());
