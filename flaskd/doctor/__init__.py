"""`flaskd doctor`: hold our deadlines against those of what runs us and of what sends us requests.

A stop loses nothing only if everybody around it is patient for longer than we are: systemd, the kubelet and Docker kill what
has not ended by their own clocks, and a balancer sends requests until it has noticed that we leave. Each of them is told its
numbers in a file of its own; nobody but us reads them side by side.

`examine` reads the files into `facts` (one reader for each kind: `unit`, `kubernetes`, `stack`, `haproxy`, `nginx`), with the
settings that the file itself gives `flaskd run` on its command line or in its environment. `rules` is the table of what is
looked for: pure functions from facts to a sentence. Nothing is changed, and nothing is asked for but `systemctl show`.
"""

from flaskd.doctor.examine import Examination, examine
from flaskd.doctor.report import as_json, as_text

__all__ = ["Examination", "as_json", "as_text", "examine"]
