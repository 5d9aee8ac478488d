"""Print the table side by side, as Markdown: `python -m tests.http.report [SERVER…]`.

For people and for the docs. flaskd's engines are judged by what they have in common, other servers by the standards alone; they
have no bounds as flaskd's, so the cases on these are not theirs.
"""

import sys

from tests.http.cases import CASES
from tests.http.servers import ENGINES, PEERS, Servers
from tests.http.trial import carry_out


def main() -> None:
    """Carry out every case on every server that is named, or on all."""
    names = sys.argv[1:] or [*ENGINES, *PEERS]
    right, asked = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    print(f"| case | source | {' | '.join(names)} |")
    print("|---|---|" + "---|" * len(names))
    with Servers() as servers:
        for case in CASES:
            cells = []
            for name in names:
                if case.bounded and name in PEERS:
                    cells.append("not asked")
                    continue
                asked[name] += 1
                expected = case.ours if name in ENGINES else case.expected
                trial = carry_out(case, servers, name, expected)
                right[name] += not trial.faults
                cells.append("ok" if not trial.faults else _cell("; ".join(trial.faults)))
            print(f"| {_cell(case.name)} | {_cell(case.source)} | {' | '.join(cells)} |", flush=True)
    print(f"| right | | {' | '.join(f'{right[name]} of {asked[name]}' for name in names)} |")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    main()
