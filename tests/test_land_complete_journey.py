"""The landing of the real package, on ten households: contract, sums, months, immutability, and the words of names."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from jobs.land_complete_journey import CompleteJourney, LandReport, land, main
from transforms.complete_journey import (
    birth_year_band,
    exclusion,
    first_month_prices,
    interaction_rows,
    order_lines,
    start_of_day,
)
from transforms.product_names import known_words, product_name, readable, readable_size
from warehouse.contracts.landing import DATASETS
from warehouse.errors import PermanentError
from warehouse.files import open_filesystem, write_whole
from warehouse.landing import list_files
from warehouse.months import month_range
from warehouse.settings import Settings, load_settings

HOUSEHOLDS = 10
YEAR = month_range("2017-01", "2017-12")


@pytest.fixture(scope="module")
def landed_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load_settings(home=tmp_path_factory.mktemp("landed"), business_tz="America/New_York")


@pytest.fixture(scope="module")
def report(landed_settings: Settings) -> LandReport:
    return land(landed_settings, YEAR, households=HOUSEHOLDS)


@pytest.fixture(scope="module")
def landed(landed_settings: Settings, report: LandReport) -> dict[str, pa.Table]:
    paths = sorted(report.written)
    folder = Path(landed_settings.landing)
    return {
        name: pa.concat_tables(pq.read_table(folder / path) for path in paths if path.startswith(f"{name}/"))
        for name in DATASETS
    }


@pytest.fixture(scope="module")
def source() -> CompleteJourney:
    return CompleteJourney(HOUSEHOLDS)


@pytest.mark.parametrize("name", DATASETS)
def test_files_have_the_contracts_columns_and_types(landed: dict[str, pa.Table], name: str) -> None:
    table, dataset = landed[name], DATASETS[name]
    assert table.num_rows > 0
    assert table.column_names == list(dataset.column_names)
    for column in dataset.columns:
        values = table[column.name]
        assert values.cast(column.type).type == column.type
        if not column.nullable:
            assert values.null_count == 0, column.name
        if column.allowed:
            assert set(values.unique().to_pylist()) <= {*column.allowed, None}
        if column.minimum is not None and values.null_count < len(values):
            assert pc.min(values).as_py() >= column.minimum
    keys = table.group_by(list(dataset.key)).aggregate([]).num_rows
    assert keys == table.num_rows


def test_every_line_of_the_households_lands_and_the_money_adds_up(
    landed: dict[str, pa.Table], source: CompleteJourney, report: LandReport
) -> None:
    lines = source.transactions.to_pandas()
    orders = landed["orders"].to_pandas()
    assert lines.household_id.nunique() == HOUSEHOLDS
    assert len(orders) == len(lines) == sum(n for path, n in report.written.items() if path.startswith("orders/"))
    assert (orders.quantity == 0).sum() == (lines.quantity == 0).sum() > 0
    merged = lines.assign(order_id=lines.basket_id.astype(str), product_id=lines.product_id.astype(str)).merge(
        orders, on=["order_id", "product_id"], validate="one_to_one"
    )
    shelf = (merged.sales_value + merged.retail_disc + merged.coupon_match_disc).round(2)
    landed_shelf = (merged.line_amount_usd + merged.discount_usd).astype(float).round(2)
    assert (shelf == landed_shelf).all()
    assert (merged.quantity_x == merged.quantity_y).all()
    assert merged.line_amount_usd[merged.quantity_y > 0].min() >= 0


def test_the_whole_years_amounts_are_exact_to_the_cent() -> None:
    everyone = CompleteJourney()
    lines = everyone.all_transactions
    orders = everyone.orders
    assert orders.num_rows == 1_469_307
    gross = pc.sum(pc.add(orders["line_amount_usd"], orders["discount_usd"])).as_py()
    expected = sum(pc.sum(lines[name]).as_py() for name in ("sales_value", "retail_disc", "coupon_match_disc"))
    assert gross == Decimal(f"{expected:.2f}")


def _transactions(**columns: list) -> pa.Table:
    rows = len(next(iter(columns.values())))
    defaults = {
        "household_id": [1] * rows,
        "store_id": [2] * rows,
        "basket_id": [3] * rows,
        "product_id": list(range(rows)),
        "quantity": [1] * rows,
        "sales_value": [1.0] * rows,
        "retail_disc": [0.0] * rows,
        "coupon_disc": [0.0] * rows,
        "coupon_match_disc": [0.0] * rows,
        "transaction_timestamp": [datetime(2017, 2, 1)] * rows,
    }
    table = pa.table(defaults | columns)
    index = table.schema.get_field_index("transaction_timestamp")
    return table.set_column(index, "transaction_timestamp", table["transaction_timestamp"].cast(pa.timestamp("ns")))


def test_the_customer_pays_the_sales_value_less_the_manufacturers_coupon() -> None:
    lines = order_lines(
        _transactions(
            sales_value=[4.29, 0.25, 0.0, 1.99],
            retail_disc=[0.5, 0.0, 0.0, 0.0],
            coupon_disc=[1.0, 1.0, 2.0, 0.0],
            coupon_match_disc=[0.35, 0.0, 0.0, 0.0],
            quantity=[1, 1, 0, 2],
        )
    )
    assert lines["line_amount_usd"].to_pylist() == [Decimal(x) for x in ("3.29", "0.00", "-2.00", "1.99")]
    assert lines["discount_usd"].to_pylist() == [Decimal(x) for x in ("1.85", "0.25", "2.00", "0.00")]


def test_line_numbers_count_within_the_basket_by_product_whatever_the_order_of_rows() -> None:
    lines = order_lines(_transactions(basket_id=[7, 8, 7, 7], product_id=[30, 5, 10, 20]))
    assert lines["line_number"].to_pylist() == [3, 1, 1, 2]


def test_months_are_cut_in_the_business_time_zone(landed_settings: Settings, landed: dict[str, pa.Table]) -> None:
    folder = Path(landed_settings.landing)
    for month in YEAR:
        times = pq.read_table(folder / f"orders/{month}.parquet")["ordered_at"]
        first = datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC)
        assert pc.min(times).as_py() >= first.replace(hour=4 if 4 <= first.month <= 11 else 5)
        local = pc.local_timestamp(times.cast(pa.timestamp("us", "America/New_York")))
        assert set(pc.strftime(local, "%Y-%m").unique().to_pylist()) == {month}
    in_utc = pc.strftime(landed["orders"]["ordered_at"], "%Y-%m")
    assert pc.any(pc.equal(in_utc, "2018-01")).as_py(), "the evening of 31 December lands in December"


def test_a_day_begins_in_the_business_time_zone() -> None:
    assert start_of_day(date(2017, 1, 1), "America/New_York") == datetime(2017, 1, 1, 5, tzinfo=UTC)
    assert start_of_day(date(2017, 7, 1), "America/New_York") == datetime(2017, 7, 1, 4, tzinfo=UTC)
    assert start_of_day(date(2017, 7, 1), "UTC") == datetime(2017, 7, 1, tzinfo=UTC)


def test_fuel_coupons_and_other_non_goods_are_not_subscribable(landed: dict[str, pa.Table]) -> None:
    for place in (
        ("FUEL", "COUPON/MISC ITEMS", "GASOLINE-REG UNLEADED"),
        ("MISCELLANEOUS", "COUPON/MISC ITEMS", "GASOLINE-REG UNLEADED"),
        ("COUPON", "COUPONS/STORE & MFG", "COUPONS/STORE & MFG"),
        ("DRUG GM", "TICKETS", "TICKETS"),
        ("GROCERY", "BOTTLE DEPOSITS", "BOTTLE DEPOSITS"),
        ("DRUG GM", "PREPAID WIRELESS&ACCESSORIES", "PREPAID WIRELESS CARDS"),
        ("CNTRL/STORE SUP", "COUPON/MISC ITEMS", "ELECTRONIC GIFT CARDS ACTIVATI"),
        ("MISCELLANEOUS", None, None),
        ("MEAT", "BEEF", "MISC SALES TRANS"),
        ("DRUG GM", "CIGARETTES", "CIGARETTES"),
    ):
        assert exclusion(*place), place
    for place in (
        ("GROCERY", "FLUID MILK PRODUCTS", "FLUID MILK WHITE ONLY"),
        ("CHEF SHOPPE", None, "INSTORE CUT VEGETABLES"),
        ("DRUG GM", "STATIONERY & SCHOOL SUPPLIES", "GREETING CARDS"),
        ("GROCERY", "PET CARE SUPPLIES", "RAWHIDE CHEWS"),
        ("MEAT-PCKGD", "MISCELLANEOUS", "PICKLES"),
        ("GROCERY", "BEERS/ALES", "BEERALEMALT LIQUORS"),
    ):
        assert exclusion(*place) is None, place
    products = landed["products"].to_pandas()
    assert not products.is_subscribable[products.department.isin(["FUEL", "MISCELLANEOUS", "COUPON"])].any()
    assert products.is_subscribable.mean() > 0.95


def test_products_are_those_the_households_bought_and_have_a_price(
    landed: dict[str, pa.Table], source: CompleteJourney
) -> None:
    products = landed["products"].to_pandas()
    bought = {str(key) for key in source.transactions["product_id"].to_pylist()}
    catalogue = {str(key) for key in source.table("products", ["product_id"])["product_id"].to_pylist()}
    assert set(products.product_id) == bought & catalogue
    goods = products[products.is_subscribable]
    assert goods.price_usd.notna().mean() > 0.99
    assert not goods.name.str.contains(r"FRZN|^\s|\s$|\(\s*$|,\s*,").any()


def test_a_price_is_the_median_of_the_first_month_in_which_the_product_sold() -> None:
    prices = first_month_prices(
        _transactions(
            product_id=[1, 1, 1, 1, 2],
            quantity=[1, 2, 1, 1, 0],
            sales_value=[2.0, 4.4, 9.0, 50.0, 5.0],
            coupon_match_disc=[0.0, 0.0, 1.0, 0.0, 0.0],
            transaction_timestamp=[datetime(2017, 3, 1)] * 3 + [datetime(2017, 4, 1)] * 2,
        )
    )
    assert prices == {1: 2.2}


def test_customers_are_all_households_with_what_is_known_of_them(source: CompleteJourney) -> None:
    everyone = CompleteJourney()
    customers = everyone.customers().to_pandas()
    assert len(customers) == customers.customer_id.nunique() == 2469
    assert customers.birth_year_band.notna().sum() == 801
    assert set(customers.household_size.dropna()) == {1, 2, 3, 4, 5}
    assert customers.consent_email.isna().all()
    assert birth_year_band("45-54") == "1963-1972"
    assert birth_year_band("65+") == "1952 or earlier"
    assert birth_year_band(None) is None
    assert set(source.households) < set(everyone.households) and len(source.households) == HOUSEHOLDS
    assert source.households == CompleteJourney(HOUSEHOLDS).households
    assert set(CompleteJourney(5).households) < set(source.households)


def test_interactions_are_redemptions_and_campaigns() -> None:
    everyone = CompleteJourney()
    events = everyone.interactions("America/New_York")
    assert events.num_rows == 2102 + 6589 == pc.count_distinct(events["interaction_id"]).as_py()
    redeemed = pa.table(
        {
            "household_id": [7],
            "coupon_upc": [51],
            "campaign_id": [26],
            "redemption_date": pa.array([datetime(2017, 1, 1)], pa.timestamp("us")),
        }
    )
    campaigns = pa.table({"campaign_id": [1], "household_id": [8]})
    described = pa.table({"campaign_id": [1], "start_date": pa.array([datetime(2017, 7, 3)], pa.timestamp("us"))})
    rows = interaction_rows(redeemed, campaigns, described, "America/New_York").to_pylist()
    assert [(r["interaction_id"], r["customer_id"], r["kind"], r["occurred_at"], r["campaign_id"]) for r in rows] == [
        ("coupon-7-26-51-20170101", "7", "coupon_redeemed", datetime(2017, 1, 1, 5, tzinfo=UTC), "26"),
        ("campaign-8-1", "8", "campaign_received", datetime(2017, 7, 3, 4, tzinfo=UTC), "1"),
    ]
    assert all(row["product_id"] is None for row in rows)


def test_a_second_landing_changes_nothing_and_other_months_are_added(settings: Settings) -> None:
    first = land(settings, ["2017-01"], households=2)
    before = {path: path.stat().st_mtime_ns for path in Path(settings.landing).rglob("*.parquet")}
    second = land(settings, ["2017-01"], households=2)
    assert second.written == {} and set(second.existing) | set(second.empty) >= set(first.written)
    assert "nothing new" in second.line()
    third = land(settings, ["2017-01", "2017-02"], households=2)
    assert "orders/2017-02.parquet" in third.written and "orders/2017-01.parquet" in third.existing
    assert "products/products.parquet" not in third.written
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_only_the_months_asked_for_land_and_others_are_refused(settings: Settings) -> None:
    land(settings, ["2017-06"], households=2)
    names = {path.name for path in (Path(settings.landing) / "orders").iterdir()}
    assert names == {"2017-06.parquet"}
    with pytest.raises(PermanentError, match="2019-01"):
        land(settings, ["2019-01"])


def test_a_landing_that_breaks_off_leaves_no_file(settings: Settings) -> None:
    filesystem = open_filesystem(settings.landing)

    def break_off(stream: pa.NativeFile) -> None:
        stream.write(b"PAR1 half a file")
        visible = list_files(filesystem, replace(DATASETS["interactions"], required=False), settings.landing)
        assert visible == [], "a reader sees the file before it is whole"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(filesystem, "interactions/2017-01.parquet", break_off)
    assert filesystem.get_file_info(pafs.FileSelector("interactions")) == []


def test_in_an_object_store_a_file_is_there_whole_or_not_at_all() -> None:
    filesystem = pafs._MockFileSystem()
    filesystem.create_dir("interactions")
    path = "interactions/2017-01.parquet"

    def break_off(stream: pa.NativeFile) -> None:
        stream.write(b"PAR1 half a file")
        raise OSError("no memory")

    with pytest.raises(OSError, match="no memory"):
        write_whole(filesystem, path, break_off)
    assert filesystem.get_file_info(pafs.FileSelector("interactions")) == []
    write_whole(filesystem, path, lambda stream: stream.write(b"PAR1 all of it"))
    assert [info.path for info in filesystem.get_file_info(pafs.FileSelector("interactions"))] == [path]
    with filesystem.open_input_file(path) as stream:
        assert stream.read() == b"PAR1 all of it"


def test_the_command_lands_where_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "elsewhere"
    arguments = ["--from", "2017-03", "--to", "2017-03", "--households", "2", "--landing", str(target)]
    main(arguments)
    assert (target / "orders/2017-03.parquet").is_file()
    main(arguments)
    assert "nothing new" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--from", "2017-13"])
    assert "2017-13" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FRZN MEAT/MEAT DINNERS", "frozen meat/meat dinners"),
        ("EGGS - X-LARGE", "eggs, x-large"),
        ("FLUID MILK WHITE ONLY", "white milk"),
        ("REFRIG DIPS", "refrigerated dips"),
        ("APPLES FUJI (BULK&BAG)", "apples fuji"),
        ("GRAPEFRUIT JUICE (OVER 50% JUI", "grapefruit juice"),
        ("VITAMIN - NON HERBAL SUPPLEMEN", "vitamin, non herbal"),
        ("CAKE DECORS - BIRTHDAY CANDLES", "cake decors, birthday candles"),
        ("CHILDREN S ACTIVITY", "children's activity"),
    ],
)
def test_till_texts_become_words(text: str, expected: str) -> None:
    known = known_words(["BIRTHDAY CARDS", "CANDLES", "VITAMIN C", "NON HERBAL"])
    assert readable(text, known) == expected


@pytest.mark.parametrize(
    ("size", "category", "expected"),
    [
        ("16 OZ", None, "16 oz"),
        ("1 GA", None, "1 gallon"),
        ("12 PK/12 OZ", None, "12 pack, 12 oz"),
        ("10/6.75 OZ", None, "10 × 6.75 oz"),
        ("14 1/4 OZ", None, "14 1/4 oz"),
        ("L    16 OZ", None, "16 oz"),
        ("(600) 4 LB", None, "4 lb"),
        ("974246  PK", None, None),
        ("PT", None, "1 pint"),
        ("40 LB", "TROPICAL FRUIT", None),
        ("10 LB", "POTATOES", "10 lb"),
        ("22 LB", None, "22 lb"),
        ("L", None, None),
        (None, None, None),
    ],
)
def test_sizes_become_words(size: str | None, category: str | None, expected: str | None) -> None:
    assert readable_size(size, category) == expected


def test_a_name_adds_the_category_only_where_the_type_does_not_say_it() -> None:
    assert product_name("primal", "beef", "National", "1 lb") == "Primal (beef), national brand, 1 lb"
    assert product_name("white milk", "fluid milk products", "Private", None) == "White milk, private brand"
    assert product_name(None, "miscellaneous", "National", None) == "Miscellaneous, national brand"
