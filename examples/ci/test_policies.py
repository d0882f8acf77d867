"""Our policy is held against its baseline wherever our tests run."""


def test_routing_is_as_good_as_it_was(mltwin_check):
    mltwin_check("baselines/chat.json")
