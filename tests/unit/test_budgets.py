"""PodDisruptionBudgets of the parent in members: how disruptions are divided, and what a member then allows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata
from vk_provider.translate.dependents.budgets import Budget, Claim, Shares, _Spec, _Status, member_budget, parts
from vk_provider.translate.names import Names

NAMES = Names("alpha", "parent-uid")
members = st.sampled_from(["alpha", "beta", "gamma", "delta"])
claims_ = st.dictionaries(members, st.builds(Claim, st.integers(0, 50), st.integers(0, 5), st.booleans()))


@given(st.integers(0, 100), claims_)
def test_members_together_never_get_more_than_the_parent_allows(allowed: int, claims: dict[str, Claim]) -> None:
    divided = parts(allowed, claims)
    assert sum(divided.values()) <= max(0, allowed - sum(claim.unseen for claim in claims.values()))
    assert all(0 <= divided[name] <= claim.living for name, claim in claims.items())


@given(st.integers(0, 100), claims_)
def test_every_member_divides_alike(allowed: int, claims: dict[str, Claim]) -> None:
    assert parts(allowed, dict(reversed(claims.items()))) == parts(allowed, claims)


def test_what_cannot_be_divided_goes_to_a_member_that_drains_and_moves_on() -> None:
    idle, draining = Claim(1), Claim(1, draining=True)
    assert parts(1, {"alpha": idle, "beta": draining}) == {"alpha": 0, "beta": 1}
    assert parts(1, {"alpha": draining, "beta": draining}) == {"alpha": 1, "beta": 0}
    assert parts(1, {"alpha": idle, "beta": idle}) == {"alpha": 0, "beta": 0}


def test_a_member_with_all_the_pods_gets_all_disruptions() -> None:
    assert parts(2, {"alpha": Claim(5), "beta": Claim(0)}) == {"alpha": 2, "beta": 0}


def test_a_member_gets_a_part_only_when_the_one_before_has_given_it_back() -> None:
    shares, observed = Shares(), list[str]()
    shares.claim("shop/web", "alpha", Claim(1, draining=True))
    shares.claim("shop/web", "beta", Claim(1))
    shares.grant("shop/web", "alpha", shares.part("shop/web", "alpha", 1))
    shares.claim("shop/web", "alpha", Claim(1))
    shares.claim("shop/web", "beta", Claim(1, draining=True))
    assert shares.part("shop/web", "beta", 1) == 0, "alpha still holds it"
    with shares.subscribed(observed.append):
        shares.grant("shop/web", "alpha", shares.part("shop/web", "alpha", 1))
    assert observed == ["shop/web"]
    assert shares.part("shop/web", "beta", 1) == 1


steps_ = st.lists(st.tuples(members, st.sampled_from(["evict", "news", "look", "drain"])), max_size=80)


@given(st.integers(0, 12), st.dictionaries(members, st.integers(1, 4), min_size=1), steps_)
def test_no_order_of_evictions_and_news_goes_below_what_the_parent_needs(
    needed: int, pods: dict[str, int], steps: list[tuple[str, str]]
) -> None:
    """Each member has a written `minAvailable`; the parent learns of evictions later."""
    shares, living, unseen = Shares(), dict(pods), dict.fromkeys(pods, 0)
    minimum, draining = dict(pods), dict.fromkeys(pods, False)
    for name, step in steps:
        if name not in pods:
            continue
        if step == "evict" and living[name] > minimum[name]:
            living[name] -= 1
            unseen[name] += 1
        elif step == "news":
            unseen[name] = 0
        elif step == "drain":
            draining[name] = not draining[name]
        for each in pods:  # what is unseen is known before the next look of any member
            shares.claim("shop/web", each, Claim(living[each], unseen[each], draining[each]))
        allowed = max(0, sum(living.values()) + sum(unseen.values()) - needed)
        if step != "evict":
            part = shares.part("shop/web", name, allowed)
            minimum[name] = living[name] - part
            shares.grant("shop/web", name, part)
        assert sum(living.values()) >= min(sum(pods.values()), needed)


def test_a_budget_selects_only_our_pods_and_keeps_the_parents_expressions() -> None:
    expressions = [{"key": "tier", "operator": "In", "values": ["web"]}]
    spec = _Spec(selector={"matchLabels": {"app": "web"}, "matchExpressions": expressions})
    budget = Budget(Metadata(name="web", namespace="shop", uid="u"), spec, _Status(1, 3, 2))
    made = member_budget(budget, NAMES, ["alpha"], 2)["spec"]
    assert made["selector"] == {
        "matchLabels": {"app": "web", wellknown.PARENT_LABEL: "parent-uid"},
        "matchExpressions": [*expressions, {"key": wellknown.NODE_LABEL, "operator": "In", "values": ["alpha"]}],
    }
    assert made["minAvailable"] == 2
    assert made["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_the_parents_policy_holds_while_its_budget_is_not_met() -> None:
    budget = Budget(Metadata(name="web", namespace="shop"), _Spec(selector={}), _Status(0, 1, 2))
    assert budget.unhealthy_policy == "IfHealthyBudget"


def test_a_status_of_an_earlier_spec_allows_nothing() -> None:
    budget = Budget(Metadata(name="web", namespace="shop", generation=2), _Spec(selector={}), _Status(3, 5, 2, 1))
    assert budget.allowed == 0


def test_no_selector_covers_no_pod_and_an_empty_one_covers_all() -> None:
    metadata = Metadata(name="web", namespace="shop")
    assert not Budget(metadata).selects({})
    assert Budget(metadata, _Spec(selector={})).selects({})
