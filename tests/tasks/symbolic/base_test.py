"""What last letters and coin flips have in common."""

import pytest

from star_jax.tasks import TASKS
from star_jax.tasks.symbolic import Symbolic
from star_jax.tasks.symbolic.coin_flip import CoinFlip
from star_jax.tasks.symbolic.last_letters import LastLetters

KINDS = (LastLetters, CoinFlip)


def test_they_are_all_there_is():
    assert {kind for kind in TASKS.values() if issubclass(kind, Symbolic)} == {*KINDS}


@pytest.mark.parametrize("kind", KINDS)
class TestSymbolic:
    def test_problems_repeat_under_a_seed_and_differ_between_rounds(self, kind: type[Symbolic]):
        task = kind()
        assert task.train(3, 1, 40) == kind().train(3, 1, 40)
        assert task.evaluation(3, 20, 5) == kind().evaluation(3, 20, 5)
        rounds = [{p.question for p in task.train(3, n, 40)} for n in (1, 2)]
        assert all(len(each) == 40 for each in rounds) and rounds[0] != rounds[1]
        assert {p.question for p in task.train(4, 1, 40)} != rounds[0]

    def test_no_question_is_both_trained_on_and_held_out(self, kind: type[Symbolic]):
        task = kind()
        trained = {p.question for n in range(1, 6) for p in task.train(0, n, 400)}
        shown = {p.question for p in task.few_shot(0, 10)}
        held_out = {p.question for seed in range(3) for p in task.evaluation(seed, 100, 50)}
        assert not held_out & (trained | shown)

    def test_classes(self, kind: type[Symbolic]):
        task = kind(length=2, ood_length=4)
        counts: dict[str, int] = {}
        for problem in task.evaluation(0, 9, 5):
            counts[problem.group] = counts.get(problem.group, 0) + 1
        assert counts == {"2": 9} | dict.fromkeys(task.beyond(), 5)
        assert {p.group for p in task.train(0, 1, 9)} == {"2"}
        assert task.in_distribution("2") and not any(map(task.in_distribution, task.beyond()))
        assert {"3", "4"} <= {*task.beyond()}
        assert not {"3", "4"} & {*kind(ood_length=0).beyond()}

    def test_the_true_completion_is_right(self, kind: type[Symbolic]):
        task = kind()
        for problem in task.train(0, 1, 50) + task.evaluation(0, 20, 20):
            gold = task.completion(problem.rationale, problem.answer)
            assert task.answer(gold) == problem.answer == task.flexible(problem, gold)
            assert task.wrong_step(problem, gold) is False
            assert task.ending().cut(f"{gold}\n\nQ: Take") == gold
            assert task.leaks(problem, gold) == []
            assert task.direct_answer(task.direct(problem)) == problem.answer
            assert task.wrong_step(problem, task.direct(problem)) is None

    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            (" The answer is  no ", "no"),
            (" The answer is No.", "No."),  # as it is: the flexible rule is the lenient one
            (" The answer is yes. The answer is no\nyes", "no"),
            (" The answer is", None),
            (" The answer is\nno", None),
            (" no", None),
        ],
    )
    def test_answers(self, kind: type[Symbolic], text: str, answer: str | None):
        assert kind().answer(text) == answer

    def test_asking_for_too_many_says_so(self, kind: type[Symbolic]):
        with pytest.raises(
            ValueError, match=r"5000 different questions of 1 .* larger config.task"
        ):
            kind(length=1, ood_length=0).train(0, 1, 5000)
