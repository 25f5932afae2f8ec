"""What is an answer, and what is none."""

import pytest

from grasp_jax.llm.described import description_in
from grasp_jax.llm.validation import rejection_reason


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
    assert rejection_reason(text, finish, refusal, mark) == reason


@pytest.mark.parametrize('answer, mark, kept', [
    ('Think.\nConclusion: a\n b', 'Conclusion:', 'a b'),
    ('<think>Who buys it?\n\nCooks.</think>\n\nA pan for cooks.', '', 'A pan for cooks.'),
    ('<THINKING lang="en">Hm.</THINKING>A pan.', '', 'A pan.'),
    ('<reasoning>Hm.</reasoning> A pan. <reflection>Good.</reflection>', '', 'A pan.'),
    ('Who buys it? Cooks.</think>A pan.', '', 'A pan.'),  # the first mark stands in the prompt
    ('<think>a <think>b</think> c</think>A pan.', '', 'A pan.'),
    ('A pan. <think>Is that all', '', 'A pan.'),
    ('<think>Conclusion: no</think>Conclusion: A pan.', 'Conclusion:', 'A pan.'),
    ('[THINK]Hm.[/THINK]A pan.', '', 'A pan.'), ('◁think▷Hm.◁/think▷A pan.', '', 'A pan.'),
    ('<seed:think>Hm.</seed:think>A pan.', '', 'A pan.'),
    ('<|begin_of_thought|>Hm.<|end_of_thought|><|begin_of_solution|>A pan.<|end_of_solution|>', '', 'A pan.'),
    ('<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>A pan.<|return|>', '',
     'A pan.'),
    ('analysisWe need a text.assistantfinalA pan.', '', 'A pan.'),
    ('<think>\n\n</think>\n\nA pan.', '', 'A pan.'), ('<answer>A pan.</answer>', '', 'A pan.'),
    ('```\nA pan.\n```', '', 'A pan.'), ('```text\nA pan.\n```', '', 'A pan.'), ('~~~md\nA pan.\n~~~', '', 'A pan.'),
    ('```A pan.```', '', 'A pan.'), ('```json {"description": "A pan."} ```', '', 'A pan.'),
    ('Here it is:\n```markdown\nA pan.\n```\nDone.', '', 'Here it is: A pan. Done.'), ('```\nA pan.', '', 'A pan.'),
    ('<think>Hm.</think>```json\n{"description": "A pan.", "for": ["cooks", "hosts"], "price": null}\n```', '',
     'description: A pan.; for: cooks; hosts'),
    ('"A \\"good\\" pan."', '', 'A "good" pan.'), ('{"a": broken', '', '{"a": broken'),
    ('[Set of 2] A pan.', '', '[Set of 2] A pan.'),
    ('A [reflection] lamp <3 pans.', '', 'A [reflection] lamp <3 pans.'),
])
def test_only_what_describes_is_kept(answer, mark, kept):
    assert description_in(answer, mark) == kept and rejection_reason(answer, 'stop', None, mark) == ''


@pytest.mark.parametrize(('answer', 'reason'), [
    ('<think>Who buys it? Cooks', 'empty'), ('<thinking>Hm.</thinking>', 'empty'), ('```\n```', 'empty'),
    ('{}', 'empty'),
    ('{"description": ""}', 'empty'), ('N/A', 'empty'), ('None.', 'empty'), ('No description available.', 'empty'),
    ('...', 'empty'), ("<think>May I?</think>I'm sorry, but I can't.", 'refused'),
    ("```\nI can't help with that.\n```", 'refused'), ('{"error": "I cannot help with that."}', 'refused'),
    ("Unfortunately, I don't have enough information.", 'refused'), ('I won’t do that.', 'refused'),
    ('My apologies, but no.', 'refused'), ('抱歉，我无法回答。', 'refused'),
    ('申し訳ありませんが、できません。', 'refused'),
    ('Lo siento, pero no puedo.', 'refused')])
def test_answers_that_describe_nothing_are_not_accepted(answer, reason):
    assert rejection_reason(answer, 'stop', None, '') == reason
