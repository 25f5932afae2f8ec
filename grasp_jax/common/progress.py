"""Progress of what takes long: a bar on a terminal; elsewhere, as in a log, a whole line now and then."""

import sys
from typing import Any

from tqdm import tqdm

_EVERY = 30.0  # seconds between two lines; what takes less says nothing
_LINE = '{desc}: {n_fmt}/{total_fmt} [{elapsed}, {remaining} left]{postfix}'


class Bar(tqdm):
    """As `tqdm`; where its output is no terminal, whole lines without carriage returns.

    Attributes:
      on_terminal: whether it is redrawn in place.
      disable: whether it shows nothing.
    """

    disable: bool

    def __init__(self, *given: Any, **settings: Any):
        """Arguments as of `tqdm`; of those, when to look and how are for terminals alone."""
        self.on_terminal = bool((settings.get('file') or sys.stderr).isatty())
        if not self.on_terminal:
            # With `miniters` of its own choice it would be refreshed by another thread as well.
            settings |= {'delay': _EVERY, 'mininterval': _EVERY, 'miniters': 0, 'bar_format': _LINE}
        super().__init__(*given, **settings)

    def now(self) -> None:
        """Shows where it is, however short ago that was shown before."""
        if not self.disable:
            self.refresh()
            self.last_print_n, self.last_print_t = self.n, self._time()

    def display(self, msg: str | None = None, pos: int | None = None) -> Any:
        """As in `tqdm`."""
        if self.on_terminal:
            return super().display(msg, pos)
        self.fp.write(f'{self}\n')
        self.fp.flush()
        return True

    def close(self) -> None:
        """Ends it; a bar that has said something says its end too."""
        if not self.on_terminal and not self.disable:
            if self.last_print_t > self.start_t and self.n != self.last_print_n:
                self.display()
            self.disable = True
        super().close()
