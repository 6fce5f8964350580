# SPDX-License-Identifier: Apache-2.0
"""What a command says in one line where the input, the machine or the disk is at fault and not the program."""

import errno
import re
import resource

from yoso_ros.errors import InputError

# As torch, OpenCV, the C++ library and the loader of libraries put it.
_MEMORY = re.compile(
    r"allocate memory|out of memory|bad_alloc|insufficient memory|failed to map segment|memory allocation", re.I
)
_FILES = re.compile(r"too many open files", re.I)
_THREADS = re.compile(r"can't start new thread|thread(?: constructor failed|: resource temporarily unavailable)", re.I)


def fault_line(error):
    """The line for an exception, or None where it is a fault of the program.

    Control characters in it, which names of files may hold, are written out.
    """
    text = str(error) or type(error).__name__
    if isinstance(error, InputError):
        line = text
    elif isinstance(error, MemoryError) or _MEMORY.search(text):
        line = "out of memory: use smaller images, a smaller batch or a smaller model, or give the process more memory"
    elif _FILES.search(text) or (isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        line = f"too many open files: the process may open {limit}; allow more with ulimit -n"
    elif _THREADS.search(text):
        line = (
            "no more threads: the machine or the container allows too few (ulimit -u, pids limit), or memory is short"
        )
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        line = f"{where}{error.strerror or text}"
    else:
        return None
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in line)
