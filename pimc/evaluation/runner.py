"""Runs every policy over every window, and keeps what is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from isa import InputError, Machine, PimcError, Program, UnsupportedError, encode_instructions
from passes import KvSpecification, load_kv
from pimc.evaluation.results import BASELINE, PolicyResult
from pimc.evaluation.resume import ResumeFile
from pimc.evaluation.timing import cost_without_data
from pimc.evaluation.window_run import run_window
from pimc.evaluation.windows import Windows
from pimc.generation import logits_port, token_input
from pimc.model_inputs import has_cache
from pimc.simulator import Session

Compile = Callable[[KvSpecification | None, bool], Program]
"""Compiles the model with policies, with or without its weights."""

Progress = Callable[[int, str], None]
"""Gets the number of tokens that were read since the last call, and what is being done."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A policy with its program.

    Attributes:
        policy: Its specification, `none` for the plain cache.
        label: What tables and messages call it.
        kv: The same, read; `None` for the plain cache.
        program: The program without weights.
    """

    policy: str
    label: str
    kv: KvSpecification | None
    program: Program

    @property
    def sha256(self) -> str:
        """Hash of the code and of the facts that the host uses."""
        facts = {name: value for name, value in self.program.metadata.items() if name != "versions"}
        digest = hashlib.sha256(encode_instructions(self.program.code))
        digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
        return digest.hexdigest()


def load_policies(texts: Sequence[str]) -> list[KvSpecification]:
    """Read specifications, see `passes.load_kv`; raises `InputError` for all that are refused in one message."""
    found, refused = list[KvSpecification](), list[InputError]()
    for text in texts:
        try:
            found.append(load_kv(text))
        except InputError as problem:
            refused.append(problem)
    if refused:
        refused[0].others = tuple(refused[1:])
        raise refused[0]
    return found


def plan_policies(policies: Sequence[KvSpecification], compile_model: Compile) -> list[Plan]:
    """The plain cache and every policy once, each compiled.

    Raises:
        PimcError: the model cannot be evaluated, or policies are refused: all of them in one message.
    """
    plain = compile_model(None, False)
    check_language_model(plain)
    wanted = {policy.text: policy for policy in policies if policy.text != BASELINE}
    labels = [policy.label for policy in wanted.values()]
    plans, refused = [Plan(BASELINE, BASELINE, None, plain)], list[PimcError]()
    for text, policy in wanted.items():
        label = policy.label if labels.count(policy.label) == 1 else text
        try:
            plans.append(Plan(text, label, policy, compile_model(policy, False)))
        except PimcError as problem:
            refused.append(_naming(problem, label))
    if refused:
        refused[0].others = tuple(refused[1:])
        raise refused[0]
    return plans


def _naming(problem: PimcError, policy: str) -> PimcError:
    """The same error with a note about which of the policies it concerns."""
    return type(problem)(problem.message, problem.place, [*problem.notes, f"policy: {policy}"], problem.help)


def check_language_model(program: Program) -> None:
    """Raise `UnsupportedError` unless a program reads one sequence of tokens, keeps a cache and gives logits."""
    if program.stages:
        raise UnsupportedError("a folder of models has no perplexity of its own", help="give a decoder's ONNX file")
    if not has_cache(program.ports):
        raise UnsupportedError("the model has no KV cache", help="export it with past keys and values")
    logits_port(program)
    if token_input(program).shape[0] != 1:
        raise UnsupportedError("the model reads several sequences at once", help="bind its batch dimension to 1")


def check_vocabulary(program: Program, windows: Windows) -> None:
    """Raise `InputError` when the tokenizer gives tokens that the model does not have."""
    rows = program.metadata.get("table_rows", {}).get(token_input(program).name)
    largest = int(windows.tokens.max())
    if rows is not None and largest >= rows:
        raise InputError(
            f"the tokenizer gives the token {largest}, and the model has {rows}",
            help="put the model's own tokenizer.json beside it",
        )


def evaluate_policy(
    plan: Plan,
    machine: Machine,
    windows: Windows,
    contexts: Sequence[int],
    compile_model: Compile,
    done: ResumeFile,
    progress: Progress,
) -> PolicyResult:
    """Run a policy over all windows that are not done yet, then measure what no window reaches.

    Raises:
        PimcError: the run is refused, or the resume file is of another program.
    """
    done.begin(plan.policy, plan.sha256)
    results = done.windows(plan.policy)[: windows.count]
    progress(len(results) * windows.size, f"{plan.label}: compiling")
    session: Session | None = None
    for number in range(len(results), windows.count):
        session = session or Session(compile_model(plan.kv, True), machine)
        stepped = partial(progress, 1, f"{plan.label}: window {number + 1} of {windows.count}")
        tokens, first = windows.window(number), windows.first_scored(number)
        result = run_window(session.program, session, tokens, first, contexts, stepped)
        done.add_window(plan.policy, result)
        results.append(result)
    for context in contexts:
        if context > windows.size and context not in done.without_data(plan.policy):
            progress(0, f"{plan.label}: {context} tokens without data")
            done.add_without_data(plan.policy, context, cost_without_data(plan.program, machine, context))
    return PolicyResult(plan.policy, plan.label, tuple(results), done.without_data(plan.policy))
