"""Installs grasp_jax; the extras keep everything heavy out of the base install."""

import pathlib

import setuptools

# ScaNN publishes wheels for these machines only; elsewhere exact search is used.
SCANN = 'scann>=1.4.2,<1.5; platform_machine == "x86_64" and sys_platform == "linux"'

SERVE = ['fastapi>=0.160,<0.200', 'uvicorn>=0.50,<0.60', 'httptools>=0.7,<0.10', 'uvloop>=0.21,<0.24',
         'prometheus-client>=0.22,<1']
# SQLAlchemy and alembic: for its file in the work folder, where no server is named.
MLFLOW = ['mlflow-skinny>=3,<4', 'sqlalchemy>=2,<3', 'alembic>=1.13,<2']
WANDB = ['wandb>=0.20,<1']
DOCS = ['mkdocs>=1.6,<2', 'mkdocs-material>=9.6,<10', 'mkdocstrings[python]>=1,<2', 'mkdocs-jupyter>=0.25,<0.27']
LLM = ['openai>=2,<4', 'aiolimiter>=1.1,<2']
EXTRAS = {
    'cuda12': ['jax[cuda12]>=0.10,<0.12'],
    'cuda13': ['jax[cuda13]>=0.10,<0.12'],
    'tpu': ['jax[tpu]>=0.10,<0.12'],
    'text': ['sentence-transformers>=5,<7'],
    'llm': LLM,
    'serve': SERVE,
    'server': ['transformers[serving]>=5,<6'],  # tests ask a real one
    'reference': ['torch>=2.6,<3'],
    'tune': ['optuna>=4,<6'],
    'tensorboard': ['tensorboardX>=2.6,<3'],
    'mlflow': MLFLOW,
    'wandb': WANDB,
    'docs': DOCS,
    'test': ['pytest>=8,<10', 'pytest-xdist>=3.6,<4', 'optuna>=4,<6', 'ruff>=0.14,<0.18', 'mypy>=1.18,<3',
             'import-linter>=2.5,<3',
             'selenium>=4.40,<5', *LLM, *SERVE, *MLFLOW, *WANDB, *DOCS],
    # RecTools, the oracle of tests/evaluation/test_beyond.py, wants NumPy 1 and an environment of its own.
}

setuptools.setup(
    name='grasp_jax',
    version='0.1.0',
    description='World knowledge of language models in sequential recommenders, in JAX and Flax.',
    long_description=pathlib.Path(__file__).with_name('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    python_requires='>=3.11,<3.14',
    packages=setuptools.find_packages(include=['grasp_jax', 'grasp_jax.*']),
    package_data={'grasp_jax': ['py.typed'], 'grasp_jax.reproduce': ['published/*.csv'],
                  'grasp_jax.texts.domains': ['*.toml'], 'grasp_jax.serving.http': ['page.html']},
    install_requires=[
        'jax>=0.10,<0.12',  # 0.11 needs Python 3.12
        'flax>=0.12.5,<0.13',
        'optax>=0.2.6,<0.3',
        'orbax-checkpoint>=0.12,<0.13',  # its V1 interface still moves
        'numpy>=2.0,<3',
        'scipy>=1.14,<2',
        'pandas>=2.2,<4',
        'pyarrow>=17,<27',
        'tensorflow-datasets>=4.9.9,<4.10',
        'array-record>=0.7,<0.9',
        'ml-collections>=1.0,<2',
        'absl-py>=2.1,<3',
        'scikit-learn>=1.5,<2',
        'threadpoolctl>=3.1,<4',  # comes with scikit-learn
        'matplotlib>=3.9,<4',
        'tqdm>=4.66,<5',
        'safetensors>=0.5,<1',
        'flatbuffers>=24.3.25,<26',  # jax.export writes and reads programs with it
        SCANN,
    ],
    extras_require=EXTRAS,
)
