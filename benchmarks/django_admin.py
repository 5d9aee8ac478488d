"""Django with its admin site: a real application of many modules. `/` redirects to the page for logging in."""

import django
from django.conf import settings
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import path

settings.configure(
    SECRET_KEY="a benchmark's",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
)
django.setup()

from django.contrib import admin  # noqa: E402 - Django has to be set up before
from django.core.wsgi import get_wsgi_application  # noqa: E402


def to_admin(_: HttpRequest) -> HttpResponseRedirect:
    """Show the admin site."""
    return HttpResponseRedirect("/admin/login/")


urlpatterns = [path("", to_admin), path("admin/", admin.site.urls)]
app = get_wsgi_application()
