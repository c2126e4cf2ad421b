"""The papers' tables say what their texts say of them."""

from papers.seeds.published import FID_BASELINES, FID_TAB3, NFE_BASELINES, SPEED_UP


def test_baselines_fall_with_evaluations_and_have_one_number_for_each():
    for name, fids in FID_BASELINES.items():
        assert len(fids) == len(NFE_BASELINES), name
        if name != "Analytic-DDIM":
            assert list(fids) == sorted(fids, reverse=True)


def test_deis_with_ten_evaluations_is_close_to_ddim_with_twenty():
    ddim = dict(zip(NFE_BASELINES, FID_BASELINES["DDIM"], strict=True))
    assert FID_TAB3["CIFAR-10, DDPM's network"][10] / ddim[20] < 1.15
    for fids in FID_TAB3.values():
        assert list(fids.values()) == sorted(fids.values(), reverse=True)


def test_the_saving_is_a_range():
    assert SPEED_UP == (3.0, 5.0)
