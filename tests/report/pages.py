"""Facts for pages, made up: small."""

from dataclasses import replace

import numpy as np

from latentcache.demo.page.compared_facts import ComparedFacts, ComparedFigure
from latentcache.demo.page.demo_facts import DemoPage, KillTest, Step, UnitDigests
from latentcache.demo.page.motion_facts import MotionFacts
from latentcache.demo.page.training_facts import (
    FirstGuess,
    LoaderRace,
    LoaderSpeed,
    OrderRun,
    OrderTest,
    RightIn,
    SampleGrid,
    TrainingFacts,
)
from latentcache.encoders import list_encoders
from latentcache.report.projection import project
from latentcache.report.store_facts import (
    BucketFacts,
    ChannelFacts,
    ColumnFacts,
    FieldFacts,
    QuarantinedSample,
    Reconstruction,
    StorePage,
)
from latentcache.stats.histogram import HistogramCounter


def channels(values_NCP: "np.ndarray") -> tuple[ChannelFacts, ...]:
    counter = HistogramCounter(values_NCP.shape[1])
    counter.add(values_NCP)
    histogram = counter.result()
    facts = []
    for index in range(values_NCP.shape[1]):
        low, high, count = histogram.channel(index)
        values = values_NCP[:, index]
        facts.append(
            ChannelFacts(
                index=index,
                mean=float(values.mean()),
                std=float(values.std()),
                minimum=float(values.min()),
                maximum=float(values.max()),
                num_nonfinite=0,
                low=low,
                high=high,
                count=count,
            )
        )
    return tuple(facts)


def store_page(title: str = "a red circle") -> StorePage:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    row = Reconstruction(
        title=title, bucket="1x32x48", original=pixels, decoded=pixels, psnr_db=30.0,
        latent=pixels[::8, ::8],
    )  # fmt: skip
    values = random.normal(size=(4, 3, 100)).astype(np.float32)
    return StorePage(
        store="build/demo/store",
        snapshot=1,
        column=ColumnFacts(
            column="latents", encoder="dct", fingerprint="0123456789abcdef", stored="z float16",
            made_on="cpu", num_planned=243, num_encoded=240, num_quarantined=3, num_missing=0,
            num_bytes=8_000_000, num_units=2,
        ),
        fields=(FieldFacts(name="z", frames="all", num_samples=4, channels=channels(values)),),
        buckets=(
            BucketFacts(height_px=256, width_px=192, num_frames=1, num_samples=240, num_shards=2),
        ),
        quarantine=(
            QuarantinedSample(
                source=title, stage="scan", code="empty", reason=title, is_transient=False
            ),
        ),
        reconstructions=(row,),
    )  # fmt: skip


def training_facts(title: str = "red circle", *, num_right: int = 5) -> TrainingFacts:
    random = np.random.default_rng(1)
    pixels = tuple(random.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8))
    grids = tuple(
        SampleGrid(
            step=step, share=step / 40, titles=(title,) * 6, samples=pixels, nearest=pixels[::-1],
            asked=tuple(range(6)), found=tuple(i if i < num_right else -1 for i in range(6)),
        )
        for step in (10, 20, 30, 40)
    )  # fmt: skip
    return TrainingFacts(
        model="a DiT", recipe="flow matching", num_images=720, num_classes=6, batch_size=32,
        losses=tuple(2 * 0.95**step for step in range(40)), grids=grids,
        right=(RightIn(name="colour", num_right=6, num_choices=4),),
        unseen=replace(grids[0], titles=(f"unseen {title}",) * 6),
        unseen_right=(RightIn(name="shape", num_right=num_right, num_choices=6),),
        first_guess=FirstGuess(told=0.25, untold=1.1, floor=0.75), own_accuracy=0.99,
        num_threads=1, elapsed_s=50.0, samples_per_s=640.0, loader_wait_share=0.0004,
    )  # fmt: skip


def motion_facts(title: str = "red circle moving up", *, num_right: int = 5) -> MotionFacts:
    random = np.random.default_rng(2)
    clips = tuple(random.integers(0, 256, (6, 3, 8, 8, 3), dtype=np.uint8))
    run = training_facts(title, num_right=num_right)
    grids = tuple(replace(grid, samples=clips, nearest=clips[::-1]) for grid in run.grids)
    values = random.normal(size=(4, 3, 100)).astype(np.float32)
    first, rest = (
        FieldFacts(name="z", frames=frames, num_samples=4, channels=channels(values))
        for frames in ("first", "rest")
    )
    return MotionFacts(
        training=replace(run, grids=grids),
        frame_rate_fps=12.0, encoder="dct-video", num_compared=48, first_frame_db=28.0,
        rest_db=25.0, first=first, rest=rest,
    )  # fmt: skip


def loader_race() -> LoaderRace:
    return LoaderRace(
        loader=LoaderSpeed(name="ours", samples_per_s=60_000.0),
        others=(
            LoaderSpeed(name="no workers", samples_per_s=4_000.0),
            LoaderSpeed(name="2 workers", samples_per_s=5_000.0),
        ),
        num_samples=720, batch_size=64, what="latents",
    )  # fmt: skip


def order_test(*, is_equal: bool = True) -> OrderTest:
    whole = OrderRun(name="1 rank", steps=(((1, 2, 3, 4),), ((5, 6, 7, 8),)))
    last = ((5, 6), (7, 8)) if is_equal else ((6, 5), (7, 8))
    parted = OrderRun(name="2 ranks", steps=(((1, 2), (3, 4)), last), resumed_at=1)
    return OrderTest(runs=(whole, parted), batch_size=4)


def demo_facts(title: str = "a red circle", *, is_equal: bool = True) -> DemoPage:
    second = "a" * 64 if is_equal else "b" * 64
    units = tuple(
        UnitDigests(
            unit=f"{index:08d}-0000", bucket="1x256x192", num_samples=120, tar=("a" * 64, second),
            meta=("c" * 64, "c" * 64), was_committed_before_kill=index == 0,
        )
        for index in range(2)
    )  # fmt: skip
    return DemoPage(
        store=store_page(title),
        kill_test=KillTest(command="latentcache build", num_committed_at_kill=1, units=units),
        training=training_facts(title),
        motion=motion_facts(title),
        compared=ComparedFacts(
            page="compare.html",
            names=("latents", "coarse"),
            encoders=("dct", "dct:keep_luma=4"),
            num_samples=240,
            num_decoded=60,
            figures=(
                ComparedFigure(
                    title="PSNR",
                    unit="dB",
                    cells=("31.5 [31.3, 31.7]", "25.1 [25, 25.2]"),
                    meaning="Squared error.",
                ),
            ),
        ),
        race=loader_race(),
        order=order_test(is_equal=is_equal),
        projection=project(list_encoders()),
        steps=(Step(what="draw", result="243 files", elapsed_s=1.0),),
        mean_psnr_db=30.0,
        min_psnr_db=25.0,
        machine="2 cores",
    )
