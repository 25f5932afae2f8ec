"""What is an answer, and what is none."""

import pytest

from grasp_jax.knowledge import model_texts
from grasp_jax.knowledge.answers import judge


@pytest.mark.parametrize('text, finish, refusal, mark, reason', [
    ('Fine.', 'stop', None, '', ''), ('', 'stop', None, '', 'empty'), ('  ', 'stop', None, '', 'empty'),
    (None, 'stop', 'No.', '', 'refused'),
    ('Half.', 'content_filter', None, '', 'refused'),
    ("I'm sorry, but I can't help.", 'stop', None, '', 'refused'),
    ("Sorry, can't help with that.", 'stop', None, '', 'refused'),
    ('As an AI, my guidelines do not allow this.', 'stop', None, '', 'refused'),
    ('Sorry seems to be the hardest word, says the label.', 'stop', None, '', ''),
    ("I am so sorry. I can't say.", 'stop', None, '', 'refused'),
    ('Sorry, I cannot assist with that.', 'stop', None, '', 'refused'),
    ("Sorry, but I can't.", 'stop', None, '', 'refused'), ('Sorry, I’m unable to.', 'stop', None, '', 'refused'),
    ("I can't provide that.", 'stop', None, '', 'refused'), ('I cannot help.', 'stop', None, '', 'refused'),
    ('**I can’t create that.**', 'stop', None, '', 'refused'), ("i'm sorry, no", 'stop', None, '', 'refused'),
    ('As an AI language model, I cannot say.', 'stop', None, '', 'refused'),
    ('As an AI, I have no view.', 'stop', None, '', 'refused'),
    ('As an AI assistant made by somebody, I cannot.', 'stop', None, '', 'refused'),
    ('As an AI-powered toothbrush, it suits people who like gadgets.', 'stop', None, '', ''),
    ('As an AI speaker, it suits people who talk to it.', 'stop', None, '', ''),
    ('Sorry, Not Sorry is a sheer lip gloss.', 'stop', None, '', ''),
    ("I Can't Believe It's Not Butter spray suits cooks.", 'stop', None, '', ''),
    ("I can't believe it's not butter spray suits cooks.", 'stop', None, '', ''),
    ("I'm Sorry is a card for friends.", 'stop', None, '', ''),
    ('Half a sen', 'length', None, '', 'cut off'), ('', 'length', None, '', 'cut off'),
    ('First. Conclusion: good.', 'stop', None, 'Conclusion:', ''),
    ('First. Conclusion:', 'stop', None, 'Conclusion:', "without 'Conclusion:'"),
    ('First.', 'stop', None, 'Conclusion:', "without 'Conclusion:'")])
def test_what_is_accepted(text, finish, refusal, mark, reason):
    assert judge(text, finish, refusal, mark) == reason


def test_only_the_conclusion_is_kept():
    assert model_texts.kept('Think.\nConclusion: a\n b', 'Conclusion:') == 'a b'
