"""The command: brings a work folder up to date with a config and prints its report.

    python -m grasp_jax.main --config=configs/demo.py --workdir=runs/demo

Any setting of the config can be changed on the command line, as --config.model.backbone=gru4rec or
--config.train.seeds=(42,43,44); `grasp_jax/config/settings.py` lists them all. --recipe=strong trains for good lists,
--recipe=paper as the paper does. A second call redoes nothing that still holds, a killed run goes on where it stopped,
and so does a finished one whose train.max_epochs or train.patience is raised. What else it can do, with the same config
and folder:

    --mode=audit                    look for held-out items in texts, batches and negatives
    --mode=prompts --n=5            show what a language model would be asked
    --dry_run                       the same, and tokens, price and time of what is left to be asked
    --mode=export --batch=DIR       write it as batch files for OpenAI's Batch API or `vllm run-batch`
    --mode=import --batch=DIR       take in what came back
    --mode=refresh --previous=DIR   after new data: write, embed and search only what changed since another work folder
"""

import pathlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from grasp_jax.commands import config_flag
from grasp_jax.commands.command import define_stopped_code, only_flags, reading_flags, run_app
from grasp_jax.commands.flag_names import as_flags
from grasp_jax.common.errors import UserError

_CONFIG = config_flag.define_config(
    'Config file, as configs/own_data.py, or with a variant, as configs/beauty.py:minilm.')
_WORKDIR = flags.DEFINE_string(
    'workdir', None, 'Folder for runs, report and plots. Default: runs/ and the name of the config.')
_STAGES = flags.DEFINE_string(
    'stages', None, 'Folder for prepared data, texts, vectors and neighbours, if several work folders are to share '
    'them. Default: the work folder.')

_MODE = flags.DEFINE_enum(
    'mode', 'run', ['run', 'audit', 'prompts', 'export', 'import', 'refresh'],
    'run: everything up to the report. audit: the stages before training, and a check that no held-out item leaks into '
    'them or into training batches. prompts: show what a language model would be asked. export, import: the same as '
    'batch files, and their answers. refresh: the stages before training, of which only what changed is made.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Only say what a language model would be asked, and what it would cost.')
_PREVIOUS = flags.DEFINE_string('previous', None, 'refresh: work folder (or --stages) of before; it is only read.')
_N = flags.DEFINE_integer('n', 2, 'prompts, dry_run: how many of items and of users to show.', lower_bound=0)
_BATCH = flags.DEFINE_list('batch', [], 'export: folder for the files. import: files or folders of answers.')
_PER_FILE = flags.DEFINE_integer('requests_per_file', 50_000, 'export: requests of a file.', lower_bound=1)
_COORDINATOR = flags.DEFINE_string(
    'coordinator', '', 'Several processes: host:port of the first one, or auto, where SLURM, a TPU pod, Kubernetes or '
    'Open MPI says who is there. Empty: one process. launch/ has scripts for each.')
_PROCESSES = flags.DEFINE_integer('processes', 0, 'How many there are, where a coordinator is named.', lower_bound=0)
_PROCESS = flags.DEFINE_integer('process', -1, 'Which of them this is, from 0.')
_STOPPED_CODE = define_stopped_code()


def main(_: Sequence[str]) -> None:
    """Runs the pipeline."""
    from grasp_jax.distributed import processes
    from grasp_jax.evaluation.report import render_terminal
    from grasp_jax.pipeline.stages import run_pipeline  # after the flags: --help need not wait for JAX

    processes.join(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    config = _CONFIG.value
    workdir = pathlib.Path(_WORKDIR.value or pathlib.Path('runs') / config_flag.config_name())
    stages = pathlib.Path(_STAGES.value) if _STAGES.value else None
    if _MODE.value != 'run' or _DRY_RUN.value:
        _other(config, stages or workdir)
        return
    command = shlex.join(['python', '-m', 'grasp_jax.main', *sys.argv[1:]])
    report = run_pipeline(config, workdir, stages, command)
    processes.wait_for_all()
    if not report:  # another process writes it
        return
    print(render_terminal(report))
    print(f'\nreport: {workdir / "report.md"}   plots: {workdir / "plots"}')


def _other(config: Any, folder: pathlib.Path) -> None:
    """Everything that is no run."""
    if _MODE.value == 'audit':
        from grasp_jax.pipeline.audit import audit
        checks = audit(config, folder)
        for check in checks:
            print(f'{check.number:>12,}  {as_flags(check.what)}')
        print('held-out items leak, see above' if any(check.leaks for check in checks) else 'nothing leaks')
        return
    if _MODE.value == 'refresh':
        from grasp_jax.pipeline.stages import refresh_knowledge
        for what, number in refresh_knowledge(config, folder, pathlib.Path(_PREVIOUS.value or '')):
            print(f'{number:>12,}  {what}')
        return
    from grasp_jax.commands import llm
    if _MODE.value == 'prompts':
        llm.show_prompts(config, folder, _N.value)
    elif _MODE.value == 'export':
        llm.export_batches(config, folder, pathlib.Path(_BATCH.value[0]), _PER_FILE.value)
    elif _MODE.value == 'import':
        llm.import_batches(config, folder, _BATCH.value)
    else:
        llm.dry_run(config, folder, _N.value)


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses flags; what is wrong with them is an error of one line."""
    with reading_flags('--help and grasp_jax/config/settings.py'):
        rest = config_flag.parse(argv)
        config_flag.require_config_file(_CONFIG, 'configs/demo.py')
    for name, takes in (('dry_run', _MODE.value == 'run'), ('batch', _MODE.value in ('export', 'import')),
                        ('n', _MODE.value == 'prompts' or _DRY_RUN.value), ('stopped_code', _MODE.value == 'run'),
                        ('requests_per_file', _MODE.value == 'export'), ('processes', bool(_COORDINATOR.value)),
                        ('process', bool(_COORDINATOR.value))):
        if flags.FLAGS[name].present and not takes:
            other = '--coordinator=HOST:PORT' if name.startswith('process') else f'--mode={_MODE.value}'
            raise UserError(f'--{name}: {"goes with" if name.startswith("process") else "is nothing for"} {other}; '
                            'see --help')
    if _MODE.value in ('export', 'import') and not _BATCH.value:
        raise UserError(f'--mode={_MODE.value} needs --batch=DIR')
    if (_MODE.value == 'refresh') != bool(_PREVIOUS.value):
        raise UserError('command line: --mode=refresh and --previous=DIR go together')
    if _COORDINATOR.value and (_MODE.value != 'run' or _DRY_RUN.value):
        raise UserError(f'--coordinator={_COORDINATOR.value}: several processes train; everything else is done by one')
    if _MODE.value == 'export' and len(_BATCH.value) > 1:
        raise UserError(f'--batch={",".join(_BATCH.value)}: give one folder')
    return only_flags(rest)


if __name__ == '__main__':
    run_app(main, _parse, resumable=True, stopped_code=lambda: _STOPPED_CODE.value)
