"""What can be done about a language model besides running: see prompts, estimate, export to files, import answers."""

import pathlib
from collections.abc import Sequence

import ml_collections

from grasp_jax.commands.flag_names import as_flags
from grasp_jax.common.errors import UserError
from grasp_jax.config import changed
from grasp_jax.llm import batch_files, prompt_runner, server
from grasp_jax.llm.answer_store import AnswerStore
from grasp_jax.pipeline.checks import check_config
from grasp_jax.pipeline.stages import answers_folder, prepare_data
from grasp_jax.texts import audit, describe, preview
from grasp_jax.texts.llm_texts import STORE, PromptSet, build_prompts
from grasp_jax.vectors.encoders import encoder_of


def prompts_of(config: ml_collections.ConfigDict, folder: pathlib.Path) -> PromptSet:
    """What a run in this folder would ask; user texts pass the audit first.

    Args:
      config: the full config.
      folder: of the stages; gets the prepared data set.

    Raises:
      UserError: a setting is wrong, or a prompt leaks a held-out item.
    """
    check_config(config)
    folder.mkdir(parents=True, exist_ok=True)
    dataset = prepare_data(config, folder)
    items, users = map(list, describe.templates(dataset, config))
    if config.text.audit:
        audit.texts_of(dataset, users, config, encoder_of(config).reads_texts)
    return build_prompts(dataset, items, users, config)


def show_prompts(config: ml_collections.ConfigDict, folder: pathlib.Path, count: int) -> None:
    """Prints the first prompts about items and users."""
    named = changed(config, {'llm.model': config.llm.model or 'the model'})  # no matter which, nothing is sent
    for text in preview.examples(prompts_of(named, folder), count):
        print(f'{text}\n')


def dry_run(config: ml_collections.ConfigDict, folder: pathlib.Path, count: int) -> None:
    """Prints prompts, and what is left to be asked, its price and the time that it will take."""
    limits = server.limits_from(config)
    asked = prompts_of(config, folder)
    found = preview.estimate(asked, config, answers_folder(config, folder))
    for text in preview.examples(asked, count):
        print(f'{text}\n')
    print(as_flags(preview.as_text(found, asked.model.name)))
    if limits.max_usd and found.usd is None:
        print(f'--config.llm.max_usd={limits.max_usd} needs a price: the run will refuse to start')
    elif limits.max_usd and found.usd is not None and found.usd + (found.spent or 0) > limits.max_usd:
        print(f'--config.llm.max_usd={limits.max_usd} may stop the run before its end')
    if encoder_of(config).needs_server:
        print('Embeddings come on top: about one token of a text for each token of an answer.')


def export_batches(config: ml_collections.ConfigDict, folder: pathlib.Path, target: pathlib.Path,
                   requests_per_file: int) -> None:
    """Writes what is left to be asked as files in `target`."""
    asked = prompts_of(config, folder)
    with AnswerStore(answers_folder(config, folder) / STORE) as store:
        left = prompt_runner.pending(asked.prompts(), store, server.limits_from(config).max_attempts)
        files, number = batch_files.export(left, asked.model, store, target, requests_per_file)
    print(f'{number:,} prompts in {len(files)} files in {target}' if files else 'nothing is left to be asked')


def import_batches(config: ml_collections.ConfigDict, folder: pathlib.Path, files: Sequence[str]) -> None:
    """Takes in what an engine answered.

    Raises:
      UserError: there is no file.
    """
    paths = [path for name in files for path in _jsonl(pathlib.Path(name))]
    if not paths:
        raise UserError(f'--batch={",".join(files)}: there are no .jsonl files; name the files that the engine wrote')
    asked = prompts_of(config, folder)
    with AnswerStore(answers_folder(config, folder) / STORE) as store:
        found = batch_files.load(paths, asked.prompts(), asked.model, store, asked.domain.keep_after)
        left = sum(1 for _ in prompt_runner.pending(asked.prompts(), store, server.limits_from(config).max_attempts))
    print(f'{found.accepted:,} answers taken in, {found.known:,} were known, {found.strangers:,} belong to other '
          'prompts')
    for reason, number in found.rejected.most_common():
        print(f'{number:,} not accepted: {reason}')
    print(f'{left:,} of {len(asked):,} prompts are still to be asked')


def _jsonl(path: pathlib.Path) -> list[pathlib.Path]:
    """A file, or those of a folder that are not what was exported."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.glob('*.jsonl') if not file.match(batch_files.REQUESTS))
