"""The cache of an informer knows which namespaces it holds objects of, without a look at all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vk_provider.kube.objects import Metadata, ObjectsByKey, PartialObject

keys = st.tuples(st.sampled_from(["a", "b", ""]), st.sampled_from(["x", "y"]))


@given(st.lists(st.tuples(st.booleans(), keys)))
def test_each_namespace_is_counted_until_its_last_object_is_removed(steps: list[tuple[bool, tuple[str, str]]]) -> None:
    found: ObjectsByKey[PartialObject] = ObjectsByKey()
    for added, (namespace, name) in steps:
        item = PartialObject(Metadata(name=name, namespace=namespace))
        if added:
            found[item.metadata.key] = item
        elif item.metadata.key in found:
            del found[item.metadata.key]
        present = [one.metadata.namespace for one in found.values()]
        assert found.namespaces == {one: present.count(one) for one in present}
