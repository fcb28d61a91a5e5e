from tests_attention_graphs import EAGER, attention_block, both, causal, window
from tests_graphs import Net, run_passes

from passes.explain import Finding, explain, record
from passes.pipelines import pipeline


def test_counts_add_up_and_reasons_are_those_of_the_last_run() -> None:
    graph = Net().graph
    record(graph, "fuse_x", {"a": 1, "b": 0}, [("n", "first")])
    record(graph, "fuse_x", {"a": 2, "b": 1}, [("m", "second")])
    assert explain(graph) == (
        Finding("fuse_x", "a", 3, (("m", "second"),)),
        Finding("fuse_x", "b", 1, ()),
    )


def test_findings_of_a_pipeline() -> None:
    graph = run_passes(attention_block(EAGER, both(causal, window(3))), *pipeline("default"))
    findings = {(finding.pass_name, finding.pattern): finding for finding in explain(graph)}
    assert findings["fuse_attention", "attention"] == Finding(
        "fuse_attention", "attention", 1, (), (("causal, window 3", 1),)
    )
    assert findings["merge_linear", "projections of one value"].fused == 1
    assert not any(finding.pass_name == "assign_storage" for finding in explain(graph))
