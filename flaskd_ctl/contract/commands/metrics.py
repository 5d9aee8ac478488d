"""Commands that show statistics."""

from typing import Final

from flaskd_ctl.contract.commands.command import WORKER, Command, Param, Role

COMMANDS: Final = (
    Command(
        "stats",
        Role.VIEWER,
        "Show statistics of finished requests by endpoint: counts, percentiles of the latency, queue, workers.",
        "Waits for the response. With --watch, shows them again and again until you interrupt it.",
        "flaskd_ctl stats --endpoint shop.cart",
        (
            Param(
                "endpoint",
                "endpoint",
                "Only this endpoint of the application, with its history of the last hour.",
            ),
            WORKER,
            Param("limit", "limit", "Number of endpoints to show, those that took most time. Default: 20."),
            Param("step", "step", "Length of the steps of the history, 10 s to 5 min. Default: 5 min."),
        ),
    ),
    Command(
        "metrics",
        Role.VIEWER,
        "Print the statistics as metrics in the OpenMetrics format, as `/metrics` of the health port does.",
        "Waits for the response. Needs flaskd's extra `metrics` where the instance runs.",
        "flaskd_ctl metrics",
    ),
)
