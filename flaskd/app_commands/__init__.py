"""Commands that an application adds to its instance with `@flaskd.command`.

`registry` has the decorator and what it has collected, `parameters` makes the parameters' type from a function's annotations,
`calling` carries out one call. Nothing here imports Flask or anything of the server, so that an application can be imported
without flaskd running: by pytest, or by `flask run`.
"""
