"""The commands that other mail servers have had for decades, by the names under which programs call them.

They read their command lines themselves: options such as ``-oi`` and ``-bs`` follow rules that are older than ``--long`` ones.
"""

from __future__ import annotations

from collections.abc import Sequence

FACES = ("sendmail", "mailq", "newaliases")
_HELP = {
    "sendmail": """\
usage: penstock sendmail [OPTION]... [RECIPIENT]...

Hands in the message on standard input; exits with 0 when it is on stable storage. 64 wrong
usage, 65 wrong addresses or no recipient, 75 not now (the server does not run), 77 not allowed.

  -t              take recipients from To, Cc and Bcc too, and remove Bcc
  -i, -oi         a line with a single dot does not end the message
  -f, -r ADDRESS  the envelope sender; '<>' for the null path
  -F NAME         the full name for a From field that is missing
  -N WORDS        notify of failure,delay,success, or never
  -R full|hdrs    what a report returns
  -V ID           the envelope id
  -B TYPE         7BIT or 8BITMIME
  -bm, -bs        send (the default), or speak SMTP on standard input and output
  -bp, -bi        the same as mailq and newaliases
  -q              try now what waits in all queues
  -C FILE         the configuration file; PENSTOCK_CONFIG names it too
Other options of sendmail are taken and ignored.""",
    "mailq": "usage: penstock mailq [-C FILE]\n\nLists the queue, in the form of Postfix. 'penstock queue list' can do more.",
    "newaliases": "usage: penstock newaliases [-C FILE]\n\nSees that the files with aliases can be read. The server reads them itself.",
}


def face(name: str, arguments: Sequence[str]) -> int:
    """Runs the command of this name; the exit code. Raises PenstockError; Stop."""
    if list(arguments) in (["--help"], ["-h"]):
        print(_HELP[name])  # noqa: T201 - this is a command's output
        return 0
    if name == "sendmail":
        from .sendmail import sendmail as run
    elif name == "mailq":
        from .mailq import mailq as run
    else:
        from .newaliases import newaliases as run
    return run(arguments)
