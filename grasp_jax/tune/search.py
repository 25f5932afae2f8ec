"""The search: a study of Optuna in sqlite that goes on where it was killed."""

import hashlib
import json
import logging
import pathlib
import shutil
from typing import Any

import ml_collections

from grasp_jax.common import artefacts
from grasp_jax.common.errors import Diverged, RunInterrupted, UserError
from grasp_jax.config import changed, default, old_keys
from grasp_jax.tune.spaces import SPACES, starts_of

LOG = logging.getLogger(__name__)
_TRIES = 3  # of settings that end in an error of the program or the device
_FAILED = 'error'  # the attribute that such a trial has


def search(config: ml_collections.ConfigDict, space: str, trials: int, workdir: pathlib.Path,
           stages: pathlib.Path, epochs_at_least: int = 10) -> Any:
    """Brings a study up to a number of trials.

    Args:
      config: what to start from; its first seed is used.
      space: a name in `SPACES`.
      trials: how many finished or stopped trials there shall be.
      workdir: of the study.
      stages: of the stages before training.
      epochs_at_least: no trial is stopped early before it has had so many.

    Returns:
      the study.

    Raises:
      UserError: Optuna is not installed, or a setting is wrong.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError('python -m grasp_jax.tune needs Optuna: pip install -e ".[tune]"') from error
    from grasp_jax.pipeline.checks import check_config, check_devices
    from grasp_jax.pipeline.stages import prepare_knowledge, run_on
    from grasp_jax.training.loop import train
    from grasp_jax.training.metrics_log import read_metrics

    check_config(config)
    check_devices(config)
    starts = starts_of(space, config)
    for start in starts:
        _check_start(space, config, SPACES[space](optuna.trial.FixedTrial(start)))
    workdir.mkdir(parents=True, exist_ok=True)
    stages.mkdir(parents=True, exist_ok=True)
    _claim(workdir, config, space)
    prepare_knowledge(config, stages)  # what is wrong with the data is said before the first trial
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # `_say` says what matters, and no traceback of a stop
    study = optuna.create_study(
        study_name=space, storage=f'sqlite:///{workdir / "study.db"}', load_if_exists=True, direction='maximize',
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=epochs_at_least))
    states = optuna.trial.TrialState
    finished = states.COMPLETE, states.PRUNED
    _take_up_again(study, states)
    if not study.get_trials(states=finished):
        for start in starts:
            _queue(study, start, states)

    def clear(study: Any, trial: Any) -> None:
        """The checkpoints of a trial that is over go once the study holds what matters."""
        if trial.state in finished and 'settings' in trial.user_attrs:
            shutil.rmtree(workdir / 'trials' / _name(trial.user_attrs['settings']), ignore_errors=True)

    for trial in study.trials:
        clear(study, trial)  # what a kill left

    def objective(trial: Any) -> float:
        settings = SPACES[space](trial)
        trial.set_user_attr('settings', settings)
        tried = changed(config, settings)
        check_config(tried)
        check_devices(tried)
        folder = workdir / 'trials' / _name(settings)
        folder.mkdir(parents=True, exist_ok=True)
        first = True

        def watch(epoch: int, value: float) -> None:
            nonlocal first
            if first:  # what was reached before the search was stopped
                for line in read_metrics(folder)[:epoch]:
                    trial.report(line['valid_ndcg10'], line['epoch'] - 1)
                first = False
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            run = run_on(tried, prepare_knowledge(tried, stages))
            best = train(run, int(tried.train.seeds[0]), folder, watch)
        except optuna.TrialPruned:
            raise
        except Diverged as error:
            LOG.warning('trial %d: %s', trial.number, error)
            raise optuna.TrialPruned from error
        except (RunInterrupted, KeyboardInterrupt, UserError, OSError):  # its checkpoints will be found
            _queue(study, trial.params, states)
            raise
        except Exception as error:  # as memory that did not suffice: perhaps not the next time
            if _failures(study, trial) >= _TRIES - 1:
                LOG.warning('trial %d: failed %d times, passed over (%s)', trial.number, _TRIES, error)
                raise optuna.TrialPruned from error
            trial.set_user_attr(_FAILED, str(error))
            _queue(study, trial.params, states)
            raise
        return best.value

    while (over := len(study.get_trials(states=finished))) < trials:
        study.sampler = optuna.samplers.TPESampler(seed=over)  # the next draw depends on what is known alone
        study.optimize(objective, n_trials=1, callbacks=[_say, clear])
    return study


def _claim(workdir: pathlib.Path, config: ml_collections.ConfigDict, space: str) -> None:
    """A study is about one config; another one's trials would be taken for its own."""
    settings = config.to_dict()
    del settings['llm'], settings['data']['source']  # who wrote the texts and where the files lie is no matter here
    artefacts.claim(workdir, old_keys.first_named('', settings), [space],
                    old_keys.first_named('', default().to_dict()))


def _check_start(space: str, config: ml_collections.ConfigDict, settings: dict[str, Any]) -> None:
    """Refuses a space whose settings do not go with the config."""
    from grasp_jax.pipeline.checks import check_config
    try:
        check_config(changed(config, settings))
    except UserError as error:
        raise UserError(f'--space={space}: sets {", ".join(settings)}, and the config does not go with that ({error}); '
                        'choose another space, or change what the space leaves alone') from error


def _failures(study: Any, trial: Any) -> int:
    """How often the same settings ended in an error before."""
    return sum(_FAILED in other.user_attrs and other.params == trial.params for other in study.trials)


def _say(study: Any, trial: Any) -> None:
    """A line for each trial that is over. One that was stopped early has a value too, that of its last epoch."""
    values = [other.value for other in study.trials if other.state.name == 'COMPLETE']
    how = f'validation NDCG@10 {100 * trial.value:.2f}%' if trial.state.name == 'COMPLETE' else 'stopped early'
    best = f'{100 * max(values):.2f}%' if values else 'none'
    LOG.info('trial %d: %s, best so far %s', trial.number, how, best)


def _take_up_again(study: Any, states: Any) -> None:
    """A trial that was running when the search was killed is queued once more; its checkpoints are found again."""
    for trial in study.get_trials(states=(states.RUNNING,)):
        _queue(study, trial.params, states)
        study.tell(trial.number, state=states.FAIL)


def _queue(study: Any, params: dict[str, Any], states: Any) -> None:
    """Queues settings unless they are waiting: a kill may come between this and the end of the trial that was running,
    and the next search would queue them again."""
    waiting = study.get_trials(states=(states.WAITING,))
    if not any(trial.system_attrs.get('fixed_params') == params for trial in waiting):
        study.enqueue_trial(params)


def _name(settings: dict[str, Any]) -> str:
    """A folder name that the same settings find again."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
