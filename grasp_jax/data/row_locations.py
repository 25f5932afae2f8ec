"""Where the rows of a table stand, in one file or in the parts of a folder, as messages name them."""

import bisect
import dataclasses
import pathlib
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class RowLocations:
    """A table's file, or a folder of files that are read as one, one after the other.

    Attributes:
      path: the file or the folder.
      parts: the files of a folder, in the order in which they are read; empty for one file.
      before: how many rows stand before each part.
    """

    path: pathlib.Path
    parts: Sequence[pathlib.Path] = ()
    before: Sequence[int] = ()

    def __str__(self) -> str:
        return str(self.path)

    def row(self, number: int) -> str:
        """'FILE, row N' of a row; its number is counted from 1 over all parts."""
        path, number = self._found(number)
        return f'{path}, row {number}'

    def name(self, number: int) -> str:
        """'N', with the part that it is in where there are several."""
        path, number = self._found(number)
        return f'{number} of {path.relative_to(self.path)}' if self.parts else str(number)

    def _found(self, number: int) -> tuple[pathlib.Path, int]:
        if not self.parts:
            return self.path, number
        part = bisect.bisect_left(self.before, number) - 1
        return self.parts[part], number - self.before[part]
