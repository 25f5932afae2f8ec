"""From prompts to a trained model by somebody else's server: `transformers serve` with a tiny Qwen2 of random weights.
"""

import dataclasses
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from grasp_jax.commands.llm import prompts_of
from grasp_jax.common.errors import UserError
from grasp_jax.config import default
from grasp_jax.pipeline.stages import run_pipeline
from grasp_jax.texts import describe, llm_texts, preview

COMMAND = pathlib.Path(sys.executable).with_name('transformers')
pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(not COMMAND.exists(), reason='the extra [server] is not installed')]


@pytest.fixture(scope='module')
def served(tmp_path_factory):
    """Address and folder of the model."""
    folder = tmp_path_factory.mktemp('tiny_qwen2')
    make_model(folder)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    command = [COMMAND, 'serve', folder, '--host', '127.0.0.1', '--port', str(port), '--device', 'cpu']
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          env={**os.environ, 'HF_HUB_OFFLINE': '1'}) as server:
        try:
            wait_for(f'http://127.0.0.1:{port}/v1/models', server)
            yield f'http://127.0.0.1:{port}/v1', folder
        finally:
            server.kill()


def make_model(folder):
    """Two layers of random numbers, a tokenizer trained on this file, answers of 10 to 40 tokens.

    Weights of unit variance: with the usual 0.02 the answers depend on little more than the place in them, and how many
    of them are the same is a matter of the tokenizer.
    """
    torch = pytest.importorskip('torch')
    transformers = pytest.importorskip('transformers')
    tokenizers = pytest.importorskip('tokenizers')
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    text = pathlib.Path(__file__).read_text(encoding='utf-8')
    bpe.train_from_iterator(text.splitlines(), tokenizers.trainers.BpeTrainer(
        vocab_size=1000, special_tokens=['<|endoftext|>', '<|im_start|>', '<|im_end|>'],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token='<|im_end|>',
                                                     pad_token='<|endoftext|>')
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        '{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}')
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=4096, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None, initializer_range=1.0))
    model.generation_config.exponential_decay_length_penalty = (10, 1.3)
    model.save_pretrained(folder)


def wait_for(address, server, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, 'the server ended'
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f'{address} did not answer in {seconds} s')


def config_for(served, tmp_path):
    config = default()
    config.text.source = 'model'
    config.llm.update({'model': str(served[1]), 'base_url': served[0], 'concurrency': 4, 'max_tokens': 100,
                       'store': str(tmp_path / 'llm')})
    return config


def test_a_model_trains_on_what_the_server_wrote(served, tmp_path):
    config = config_for(served, tmp_path)
    config.data.update({'kind': 'shop', 'name': 'shop', 'min_user': 3, 'min_item': 1})
    config.data.shop.update({'customers': 40, 'products': 30})
    config.text.domain = 'shop'
    config.encode.width = 16
    config.model.num_layers = 1
    config.train.max_epochs = 1
    report = run_pipeline(config, tmp_path / 'run')
    facts = report['stages']['describe']
    entities = report['data']['users'] + report['data']['items']
    assert (facts['prompts'], facts['sent'], facts['fallbacks']) == (entities, entities, 0)
    assert facts['prompt_tokens'] > 50 * entities and 5 * entities < facts['completion_tokens'] < 100 * entities
    items, users = describe.load_texts(tmp_path / 'run' / 'describe')
    assert not any(text.startswith('The ') for text in (*items, *users)) and len(set(items)) > len(items) // 2
    assert report['test']['sampled']['NDCG@10'] > 0
    again = run_pipeline(config, tmp_path / 'again')
    assert again['stages']['describe']['sent'] == 0 and again['test'] == report['test']


def test_estimates_on_beauty_are_near_the_servers_count(served, tmp_path, real_data):
    from transformers import AutoTokenizer
    config = config_for(served, tmp_path)
    config.data.update({'name': 'amazon_beauty_5core', 'source': str(real_data('amazon_beauty_5core'))})
    config.llm.max_requests = 40
    asked = prompts_of(config, tmp_path / 'run')
    asked = dataclasses.replace(asked, items=asked.items[::20], users=asked.users[::20])
    folder = tmp_path / 'out'
    folder.mkdir()
    with pytest.raises(UserError, match='max_requests=40 is reached'):
        llm_texts.write(asked, config, tmp_path / 'llm' / llm_texts.STORE, folder)
    found = preview.estimate(asked, config, tmp_path / 'llm')
    tokenizer = AutoTokenizer.from_pretrained(served[1])
    counted = sum(len(tokenizer.apply_chat_template(prompt.messages, add_generation_prompt=True)['input_ids'])
                  for prompt in list(asked.spread())[40:])
    assert found.answered == 40 and found.measured
    assert found.tokens.prompt == pytest.approx(counted, rel=0.15)
