"""Tunes settings on validation with Optuna; the test items are never looked at.

    python -m grasp_jax.tune --config=configs/beauty.py:minilm,strong --space=strong --trials=30 --workdir=runs/tune

The study lies in WORKDIR/study.db (sqlite). A killed search goes on with the trial that it was in, from its last
checkpoint; weak trials are stopped early. It ends with a table of all trials, a picture of what each setting does, and
the best settings as flags of `grasp_jax.main`. Needs `pip install -e ".[tune]"`.
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from grasp_jax.commands import config_flag
from grasp_jax.commands.command import define_stopped_code, only_flags, reading_flags, run_app
from grasp_jax.common import artefacts
from grasp_jax.tune import report
from grasp_jax.tune.search import search
from grasp_jax.tune.spaces import SPACES

_CONFIG = config_flag.define_config('Config file to start from.')
_SPACE = flags.DEFINE_enum('space', 'strong', sorted(SPACES), 'What is searched (grasp_jax/tune/spaces.py).')
_TRIALS = flags.DEFINE_integer('trials', 20, 'Trials in all, those of earlier calls included.', lower_bound=1)
_EPOCHS_AT_LEAST = flags.DEFINE_integer(
    'epochs_at_least', 10, 'No trial is stopped early before so many epochs; settings that learn slowly need more.',
    lower_bound=0)
_WORKDIR = flags.DEFINE_string('workdir', 'runs/tune', 'Folder for the study, its trials and what they share.')
_STAGES = flags.DEFINE_string('stages', None, 'Folder of prepared data and vectors. Default: the work folder.')
_OUT = flags.DEFINE_string('out', None, 'Folder of the table and the picture. Default: the work folder.')
_STOPPED_CODE = define_stopped_code()


def main(_: Sequence[str]) -> None:
    """Runs the search and reports it."""
    workdir = pathlib.Path(_WORKDIR.value)
    with artefacts.lock(workdir, '.searching'):  # another search would take the trial that is running for a killed one
        study = search(_CONFIG.value, _SPACE.value, _TRIALS.value, workdir, pathlib.Path(_STAGES.value or workdir),
                       _EPOCHS_AT_LEAST.value)
    print(report.write(study, _CONFIG.value, pathlib.Path(_OUT.value or workdir)))


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses flags; what is wrong with them is an error of one line."""
    with reading_flags('--help and grasp_jax/config/settings.py'):
        rest = config_flag.parse(argv)
        config_flag.require_config_file(_CONFIG, 'configs/beauty.py:minilm,strong')
    return only_flags(rest)


if __name__ == '__main__':
    run_app(main, _parse, resumable=True, stopped_code=lambda: _STOPPED_CODE.value)
