"""What examples are kept, and what those kept weigh."""

from pyspark.sql import functions as F

from transforms.thinning import hashed, thin


def examples(spark, rows=4_000, every=10):
    """Every tenth was bought; of the others half say so and half say nothing."""
    said = F.when(F.col("id") % every == 0, True).when(F.col("id") % 2 == 0, False)
    return spark.range(rows).withColumn("is_bought", said)


def test_all_that_was_bought_is_kept_and_the_rest_weighs_for_what_was_left_out(spark):
    kept = thin(examples(spark), 0.25, hashed("id")).collect()
    bought = [row for row in kept if row.is_bought]
    others = [row for row in kept if row.is_bought is False]
    assert len(bought) == 400
    assert {row.weight for row in bought} == {1.0}
    assert len(bought) + len(others) == len(kept), "a null is no purchase"
    assert {row.weight for row in others} == {4.0}
    assert 800 < len(others) < 1_000, "a quarter of 3,600"


def test_the_same_rows_are_kept_again_and_others_by_another_seed(spark):
    def ids(*seed):
        return {row.id for row in thin(examples(spark), 0.25, hashed("id", *seed)).collect()}

    assert ids() == ids()
    assert ids(F.lit(1)) != ids(F.lit(2))


def test_places_lie_level_between_zero_and_one(spark):
    low, high, mean = spark.range(5_000).select(hashed("id").alias("p")).agg(F.min("p"), F.max("p"), F.avg("p")).first()
    assert 0 <= low < 0.01
    assert 0.99 < high < 1
    assert 0.48 < mean < 0.52
