"""Which code an application was loaded from, and which is on disk now: directory, git revision, packages."""
