"""The trials of a search in Optuna's storage, shared by any number of workers.

Knows which trial a worker carries out next, and that none is lost or counted twice. Does not know
what a trial does.

A worker that is at work on a trial holds the lock of a file beside the trial's folder. A trial that
is said to be running and whose lock can be taken has lost its worker: it is taken up by the next.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcompress import budgets, file_locks, recipe
from tfcompress.search import storage
from tfcompress.search.space import Domain, Range, Space
from tfcompress.search_record import TrialRecord, trial_name

if TYPE_CHECKING:
    import optuna

_RECIPE, _NUMBER, _ATTEMPTS, _SAME = "recipe", "number", "attempts", "same"
_EXHAUSTED, _UNTRAINED = "exhausted", "untrained"
# After so many known recipes in a row one is drawn at random, and after so many more there is
# taken to be no other.
_PATIENCE = 5
_MOST_REPEATS = 50
# So many of all trials finish before a sampler chooses, or are a generation: few, since a trial may
# take minutes, and a search has tens of them.
_STARTUP_SHARE, _STARTUP = 0.25, (4, 10)
_FEWEST_FOR_IMPORTANCE = 10
# Trials that end before any training cost little; beyond so many for each other one they count.
_MOST_UNTRAINED = 4
_FINEST_GRID = 64


@dataclass(frozen=True)
class Claim:
    """A trial that this worker is to carry out, and to `tell` of.

    Attributes:
      number: of the trial, from 0.
      recipe: its text.
      choices: what was chosen for each name of the space.
      attempts: how many workers took it up and were ended in its midst, and this one.
      place: its number in the storage.
      lock: held until it is told.
      was_told: of a trial that had ended and whose record was removed.
    """

    number: int
    recipe: str
    choices: Mapping[str, str]
    attempts: int
    place: int
    lock: file_locks.FileLock
    was_told: bool = False


class Study:
    """The trials of one search.

    Args:
      name: of the study in the storage.
      space: the recipes to choose from.
      known: recipes that need no trial.
      folder: where the journal and the trials' folders lie.
      url: of a database; empty for the journal.
      sampler: one of `config.SAMPLERS`.
      objectives: how many values a trial has, less of each being better.
      trials: recipes to try in all; fewer, where there are no more, or where a grid has fewer.
        One that ends before any training does not count, but for a grid's, up to four for each
        of `trials`.
      seed: of the sampler.
      has_record: whether the record of a trial, by its number, is still there; one whose record
        was removed is carried out again.

    Raises:
      StorageError: the storage cannot be used.

    Attributes:
      planned: recipes to try.
    """

    def __init__(
        self,
        *,
        name: str,
        space: Space,
        known: Sequence[str],
        folder: Path,
        url: str,
        sampler: str,
        objectives: int,
        trials: int,
        seed: int,
        has_record: Callable[[int], bool] = lambda number: True,
    ) -> None:
        self._space = space
        self._known = {_canonical(text) for text in known}
        self._folder = folder
        self._sampler = sampler
        self._seed = seed
        self._has_record = has_record
        self._where = storage.place(url, folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._study = storage.opened(name, url=url, folder=folder, objectives=objectives)
        with self._claiming():
            self.planned = trials
            if sampler == "grid":
                points = grid(space, trials, known=self._known)
                self.planned = len(points)
                for point in points:
                    self._study.enqueue_trial(point, skip_if_exists=True)

    def claim(self) -> Claim | None:
        """A trial to carry out; None where the others are done, or at work elsewhere.

        Raises:
          StorageError: the storage answers no longer; of every other method, too.
        """
        with self._claiming():
            for trial in (*self._unfinished(), *self._without_record()):
                claimed = self._taken_up(trial)
                if claimed is not None:
                    return claimed
            while not self._is_planned_out:
                claimed = self._asked()
                if claimed is not None:
                    return claimed
            return None

    @property
    def is_complete(self) -> bool:
        """Whether every trial has ended, so that none is at work anywhere."""
        with self._claiming():
            ended = all(trial.state.is_finished() for trial in self._numbered())
            return ended and self._is_planned_out and not self._without_record()

    def tell(
        self,
        claim: Claim,
        record: TrialRecord,
        values: Sequence[float] | None = None,
        overruns: Mapping[str, float] | None = None,
    ) -> None:
        """Notes how a trial ended, and gives its lock back.

        Args:
          claim: of this worker, not yet told.
          record: how it ended.
          values: of the objectives, of a trial that finished.
          overruns: by which fraction of each limit it is over it, as far as is known.
        """
        import optuna

        with _giving_back(claim.lock), self._claiming(), storage.quiet():
            if claim.was_told:
                # Its figures are known.
                return
            frozen = self._study.trials[claim.place]
            trial = optuna.trial.Trial(self._study, frozen._trial_id)
            for name, over in (overruns or {}).items():
                trial.set_constraint(name, over)
            if record.is_untrained and self._sampler != "grid":
                trial.set_user_attr(_UNTRAINED, True)
            if values is None and self._sampler == "nsga2" and _is_over(overruns):
                # It selects among complete trials, and else would learn of no file that is too
                # large: of two over the budget the nearer is the better, whatever their values.
                worst = [math.inf] * len(self._study.directions)
                self._study.tell(claim.place, worst)
            elif values is None:
                # Else it would rank before every file that is over the budget, however poor it was;
                # and of a trial that Optuna calls failed a sampler learns nothing at all.
                trial.set_constraint("has_no_file", 1.0)
                self._study.tell(claim.place, state=optuna.trial.TrialState.PRUNED)
            else:
                self._study.tell(claim.place, list(values))

    def give_back(self, claim: Claim) -> None:
        """Leaves a trial to the next worker: this one ends of its own accord, not because of it."""
        import optuna

        with _giving_back(claim.lock), self._claiming():
            if not claim.was_told:
                frozen = self._study.trials[claim.place]
                trial = optuna.trial.Trial(self._study, frozen._trial_id)
                trial.set_user_attr(_ATTEMPTS, claim.attempts - 1)

    def importances(self) -> dict[str, float]:
        """How much each choice mattered for the front, the greatest first; empty of few trials.

        Reference:
          Watanabe, Bansal, Hutter: PED-ANOVA: Efficiently quantifying hyperparameter importance in
          arbitrary subspaces, IJCAI 2023.
        """
        import optuna

        with storage.told(self._where), storage.quiet():
            states = (optuna.trial.TrialState.COMPLETE,)
            complete = self._study.get_trials(deepcopy=False, states=states)
            # A draft that NSGA-II was told of has no values.
            made = [trial for trial in complete if all(map(math.isfinite, trial.values))]
            chosen = {name for trial in made for name in trial.params}
            if len(made) < _FEWEST_FOR_IMPORTANCE or not chosen:
                return {}
            files = optuna.create_study(directions=self._study.directions)
            files.add_trials(made)
            return dict(optuna.importance.get_param_importances(files))

    @contextmanager
    def _claiming(self) -> Iterator[None]:
        with file_locks.held(self._folder / ".claim.lock"), storage.told(self._where):
            yield

    @property
    def _is_exhausted(self) -> bool:
        return bool(self._study.user_attrs.get(_EXHAUSTED))

    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        return list(self._study.get_trials(deepcopy=False))

    def _numbered(self) -> list[optuna.trial.FrozenTrial]:
        return [trial for trial in self._trials() if _NUMBER in trial.user_attrs]

    @property
    def _is_planned_out(self) -> bool:
        """Whether as many trials were begun as there are to be."""
        numbered = self._numbered()
        untrained = sum(bool(trial.user_attrs.get(_UNTRAINED)) for trial in numbered)
        counted = len(numbered) - min(untrained, _MOST_UNTRAINED * self.planned)
        return counted >= self.planned or self._is_exhausted

    def _unfinished(self) -> list[optuna.trial.FrozenTrial]:
        """Those that were begun. One whose worker was killed while it asked is given up."""
        import optuna

        begun = [t for t in self._trials() if t.state == optuna.trial.TrialState.RUNNING]
        for trial in begun:
            if _NUMBER not in trial.user_attrs:
                if point := trial.system_attrs.get("fixed_params"):
                    # Of a grid, which waits for it no longer. First, so that a kill loses no point.
                    self._study.enqueue_trial(point)
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        return [trial for trial in begun if _NUMBER in trial.user_attrs]

    def _without_record(self) -> list[optuna.trial.FrozenTrial]:
        """Those that ended and whose record was removed, since it was damaged."""
        return [
            trial
            for trial in self._numbered()
            if trial.state.is_finished() and not self._has_record(trial.user_attrs[_NUMBER])
        ]

    def _taken_up(self, trial: optuna.trial.FrozenTrial) -> Claim | None:
        """The claim on a trial whose worker is gone."""
        import optuna

        number = trial.user_attrs[_NUMBER]
        lock = self._lock(number)
        if lock is None:
            return None
        text, choices = trial.user_attrs[_RECIPE], self._choices(trial)
        if trial.state.is_finished():
            return Claim(number, text, choices, 1, trial.number, lock, was_told=True)
        with _giving_back(lock, only_after_an_error=True):
            attempts = trial.user_attrs[_ATTEMPTS] + 1
            live = optuna.trial.Trial(self._study, trial._trial_id)
            live.set_user_attr(_ATTEMPTS, attempts)
        return Claim(number, text, choices, attempts, trial.number, lock)

    def _asked(self) -> Claim | None:
        """The claim on a new trial; None where the sampler names a recipe that is known."""
        trials = self._trials()
        number = len(self._numbered())
        with storage.quiet():
            lost = _repeats(trials) >= _PATIENCE
            self._study.sampler = self._new_sampler(
                "random" if lost else self._sampler, len(trials)
            )
            trial = self._study.ask()
            if self._sampler == "nsga2":
                # It crosses only choices that every trial has made.
                for name, domain in self._space.domains.items():
                    _suggest(trial, name, domain)
            text = self._space.recipe(lambda name, domain: _suggest(trial, name, domain))
        text = _canonical(text)
        tried = {each.user_attrs[_RECIPE] for each in trials if _NUMBER in each.user_attrs}
        if text in tried | self._known:
            self._pass_over(trial)
            return None
        lock = self._lock(number)
        assert lock is not None, "only one worker claims at a time"
        with _giving_back(lock, only_after_an_error=True):
            trial.set_user_attr(_RECIPE, text)
            trial.set_user_attr(_ATTEMPTS, 1)
            trial.set_user_attr(_NUMBER, number)
            frozen = self._study.trials[trial.number]
        return Claim(number, text, self._choices(frozen), 1, trial.number, lock)

    def _pass_over(self, trial: optuna.trial.Trial) -> None:
        """Ends a trial whose recipe is known; after many of them there is nothing new to find."""
        import optuna

        trial.set_user_attr(_SAME, True)
        self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        if _repeats(self._trials()) >= _PATIENCE + _MOST_REPEATS:
            self._study.set_user_attr(_EXHAUSTED, True)

    def _lock(self, number: int) -> file_locks.FileLock | None:
        return file_locks.take(self._folder / f"{trial_name(number)}.lock")

    def _choices(self, trial: optuna.trial.FrozenTrial) -> dict[str, str]:
        """What was chosen in the places that belong to the trial's recipe."""
        found: dict[str, str] = {}

        def choose(name: str, domain: Domain) -> float | str:
            value: float | str = trial.params[name]
            found[name] = domain.text(float(value)) if isinstance(domain, Range) else str(value)
            return value

        self._space.recipe(choose)
        return found

    def _new_sampler(self, kind: str, place: int) -> Any:
        """A sampler whose choice depends on the trials before, the next one's place and the plan.

        So a search that is interrupted goes on as it would have, and workers do not choose alike.
        """
        import optuna
        from optuna import samplers

        digest = hashlib.sha256(f"{self._seed} {place}".encode()).digest()
        seed = int.from_bytes(digest[:4], "little")
        few, many = _STARTUP
        startup = min(max(round(_STARTUP_SHARE * self.planned), few), many)
        if kind == "tpe":
            # It counts those without a file too, but by these alone it could not choose.
            states = [trial.state for trial in self._trials()]
            finished = states.count(optuna.trial.TrialState.COMPLETE)
            begun = finished >= startup or len(states) >= self.planned
            startup = 0 if begun else len(states) + 1
            return samplers.TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)
        if kind == "nsga2":
            return samplers.NSGAIISampler(seed=seed, population_size=startup)
        # The points of a grid are waiting already.
        return samplers.RandomSampler(seed=seed)


@contextmanager
def _giving_back(lock: file_locks.FileLock, *, only_after_an_error: bool = False) -> Iterator[None]:
    """Releases a lock at the end of the block, however it ends."""
    try:
        yield
    except BaseException:
        lock.release()
        raise
    if not only_after_an_error:
        lock.release()


def _is_over(overruns: Mapping[str, float] | None) -> bool:
    return not budgets.keeps(overruns or {})


def _repeats(trials: Sequence[optuna.trial.FrozenTrial]) -> int:
    """How many of the last trials named a known recipe."""
    same = itertools.takewhile(lambda trial: trial.user_attrs.get(_SAME), reversed(trials))
    return len(list(same))


def _canonical(text: str) -> str:
    return str(recipe.parse(text))


def _suggest(trial: optuna.trial.Trial, name: str, domain: Domain) -> float | str:
    if not isinstance(domain, Range):
        return str(trial.suggest_categorical(name, domain.options))
    if domain.whole:
        ends, step = (int(domain.low), int(domain.high)), int(domain.step or 1)
        return int(trial.suggest_int(name, *ends, step=step, log=domain.log))
    found = trial.suggest_float(name, domain.low, domain.high, step=domain.step, log=domain.log)
    return float(found)


def grid(
    space: Space, trials: int, *, known: set[str] | frozenset[str] = frozenset()
) -> list[dict[str, float | str]]:
    """Points evenly over a space: the finest grid of at most so many recipes.

    Every range has as many numbers as every other. Where one number each is too many recipes, so
    many of them are taken, evenly from the first to the last.

    Args:
      space: the recipes.
      trials: at least 1.
      known: recipes that need no trial.

    Returns:
      What is chosen at each point, by the names of the space.

    Example:
      >>> from tfcompress.search.space import parse
      >>> grid(parse(["prune({0.2..0.8})+{qat|int8}"]), 5)[:2]
      [{'prune.target_sparsity': 0.2, 'qat or int8': 'qat'}, \
{'prune.target_sparsity': 0.2, 'qat or int8': 'int8'}]
    """
    best: list[dict[str, float | str]] = []
    for levels in range(1, _FINEST_GRID + 1):
        found: dict[str, dict[str, float | str]] = {}
        for point, text in itertools.islice(space.points(levels), 50_000):
            found.setdefault(_canonical(text), point)
        points = [point for text, point in found.items() if text not in known]
        if len(points) > trials:
            if not best:
                steps = [round(n * (len(points) - 1) / max(trials - 1, 1)) for n in range(trials)]
                best = [points[step] for step in steps]
            break
        if len(points) == len(best):
            break
        best = points
    return best
