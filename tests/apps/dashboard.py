"""A dash application with one callback."""

from dash import Dash, Input, Output, dcc, html

dashboard = Dash(__name__)
dashboard.layout = html.Div([dcc.Input(id="name"), html.Div(id="greeting")])
app = dashboard.server


@dashboard.callback(Output("greeting", "children"), Input("name", "value"))  # type: ignore[untyped-decorator]  # dash is not looked into
def greet(name: str) -> str:
    """Greet whoever is named."""
    return f"hello {name}"
