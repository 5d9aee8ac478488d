"""Workers: which there should be (`plan`), that there are (`fleet`), what was asked for (`changes`), one of them (`member`)."""
