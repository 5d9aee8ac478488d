"""Tasks: what an operator asks of the processes that run the application, and what they reply.

A command that needs the application's process is a task. A supervisor sends it to its workers over their channels, a `Server`
carries it out in its own process; `flaskd.in_process` has the code that does it. A worker that hangs, or is stopped, does not
reply: what must be known then is in shared memory, not in a task.

To add one: a subclass of `Task` and one of `Reply` here, and a function in `flaskd.in_process`.
"""

from flaskd.tasks.application import (
    CallCommand as CallCommand,
    CommandCalled as CommandCalled,
    CommandProgress as CommandProgress,
    CommandsListed as CommandsListed,
    ConfigShown as ConfigShown,
    ListCommands as ListCommands,
    Listed as Listed,
    ListRoutes as ListRoutes,
    RoutesListed as RoutesListed,
    ShowConfig as ShowConfig,
)
from flaskd.tasks.base import (
    Call as Call,
    Choice as Choice,
    Note as Note,
    Ordered as Ordered,
    Outcome as Outcome,
    Reply as Reply,
    ReportingTask as ReportingTask,
    Task as Task,
)
from flaskd.tasks.cancelling import CancelOutcome as CancelOutcome, CancelRequest as CancelRequest
from flaskd.tasks.code import (
    CodeDescribed as CodeDescribed,
    DescribeCode as DescribeCode,
    FilesListed as FilesListed,
    ListFiles as ListFiles,
)
from flaskd.tasks.garbage import CollectGarbage as CollectGarbage, GarbageCollected as GarbageCollected
from flaskd.tasks.profile import (
    EndProfile as EndProfile,
    ProfileEnded as ProfileEnded,
    ProfileTaken as ProfileTaken,
    TakeProfile as TakeProfile,
)
from flaskd.tasks.stacks import StacksTaken as StacksTaken, TakeStacks as TakeStacks
from flaskd.tasks.tuning import (
    FindLogger as FindLogger,
    Level as Level,
    LevelsListed as LevelsListed,
    ListLevels as ListLevels,
    LoggerFound as LoggerFound,
    Tune as Tune,
    Tuned as Tuned,
)

Tasks = (
    CollectGarbage
    | CancelRequest
    | TakeStacks
    | TakeProfile
    | EndProfile
    | CallCommand
    | ListCommands
    | ListRoutes
    | ShowConfig
    | Tune
    | FindLogger
    | ListLevels
    | DescribeCode
    | ListFiles
)
"""Every task. A task is decoded by its tag."""

TaskReplies = (
    GarbageCollected
    | CancelOutcome
    | StacksTaken
    | ProfileTaken
    | ProfileEnded
    | CommandCalled
    | CommandProgress
    | CommandsListed
    | ConfigShown
    | RoutesListed
    | Tuned
    | LoggerFound
    | LevelsListed
    | CodeDescribed
    | FilesListed
)
"""Every reply to a task, and every note."""
