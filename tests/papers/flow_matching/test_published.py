"""The paper's tables say what its text says of them."""

from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.published import NLL_BY_K, TABLE_1, TABLE_2

DATA_SETS = ("CIFAR-10", "ImageNet-32", "ImageNet-64")


def test_table_1_has_the_five_objectives_and_ot_first_in_all():
    assert set(TABLE_1) == set(OBJECTIVES)
    for data_set in DATA_SETS:
        cells = {name: row[data_set] for name, row in TABLE_1.items()}
        for column in range(3):
            assert min(cells, key=lambda name: cells[name][column]) == "fm-ot"


def test_table_1_ends_where_the_estimate_with_most_draws_does():
    assert list(NLL_BY_K.values()) == sorted(NLL_BY_K.values(), reverse=True)
    assert NLL_BY_K[max(NLL_BY_K)] == TABLE_1["fm-ot"]["CIFAR-10"].nll


def test_table_2_regression_wins_psnr_and_loses_fid():
    flow, regression = TABLE_2["fm-ot"], TABLE_2["regression"]
    assert flow.psnr is not None
    assert regression.psnr is not None
    assert regression.psnr > flow.psnr
    assert regression.fid > 4 * flow.fid
