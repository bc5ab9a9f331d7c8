"""Rows of the table: benchmarks, with the published numbers of records that a complete source must have."""

from vigorl_jax.datasets.dataset import Dataset, Form
from vigorl_jax.datasets.layouts import options, released, screens
from vigorl_jax.datasets.layouts.layout import Keys
from vigorl_jax.datasets.training_rows import CITATION, HUB

_UNKNOWN = "not stated"


def _in_release(folder: str, file: str, split: str) -> Form:
    """The copy of a benchmark in the ViGoRL release: conversations, boxes as corner text, no categories."""
    archive = (f"{folder}.tar",)
    return Form(released.CONVERSATIONS, {split: f"{folder}/{file}"}, archive, has_categories=False)


_SPATIAL = (
    Dataset(
        name="sat2",
        task="spatial",
        title="SAT-2 synthetic test of the ViGoRL paper (its 'val')",
        source=f"Hugging Face {HUB}: spatial_reasoning.tar",
        size="11.2 GB",
        licence="MIT",
        citation=CITATION,
        forms=(_in_release("spatial_reasoning", "sat2_test/sat2_test.jsonl", "test"),),
        counts={"test": 4001},
        hub=HUB,
        hub_files=("spatial_reasoning.tar",),
        sample="open",
    ),
    Dataset(
        name="sat_real",
        task="spatial",
        title="SAT test on real photographs, one or two frames",
        source="Hugging Face array/SAT: SAT_test.parquet",
        size=_UNKNOWN,
        licence="MIT",
        citation="Ray et al. 2024, SAT, arXiv:2412.07755",
        forms=(Form(options.SAT, {"test": "SAT_test*.parquet"}),),
        counts={"test": 150},
        hub="array/SAT",
        hub_files=("SAT_test.parquet",),
    ),
    Dataset(
        name="blink",
        task="spatial",
        title="BLINK validation, 14 subtasks, 1 to 4 images",
        source="Hugging Face BLINK-Benchmark/BLINK: */val-*.parquet",
        size=_UNKNOWN,
        licence="Apache-2.0",
        citation="Fu et al. 2024, BLINK, arXiv:2404.12390",
        forms=(
            Form(options.BLINK, {"val": "*/val-*.parquet"}),
            _in_release("spatial_reasoning", "blink/blink_validation.jsonl", "val"),
        ),
        counts={"val": 1901},
        categories={
            "Art_Style": 117,
            "Counting": 120,
            "Forensic_Detection": 132,
            "Functional_Correspondence": 130,
            "IQ_Test": 150,
            "Jigsaw": 150,
            "Multi-view_Reasoning": 133,
            "Object_Localization": 122,
            "Relative_Depth": 124,
            "Relative_Reflectance": 134,
            "Semantic_Correspondence": 139,
            "Spatial_Relation": 143,
            "Visual_Correspondence": 172,
            "Visual_Similarity": 135,
        },
        hub="BLINK-Benchmark/BLINK",
        hub_files=("*/val-*.parquet",),
        sample="blink",
    ),
    Dataset(
        name="robospatial",
        task="spatial",
        title="RoboSpatial-Home: configuration, compatibility, context",
        source="Hugging Face chanhee-luke/RoboSpatial-Home: one parquet file a category",
        size=_UNKNOWN,
        licence="Apache-2.0",
        citation="Song et al. 2024, RoboSpatial, arXiv:2411.16537",
        forms=(Form(options.ROBOSPATIAL, {"test": "co*-*.parquet"}),),
        counts={"test": 350},
        categories={"configuration": 123, "compatibility": 105, "context": 122},
        hub="chanhee-luke/RoboSpatial-Home",
        hub_files=("*.parquet",),
        sample="region",
    ),
)


def _hrbench(pixels: str, size: str) -> Dataset:
    file = f"hr_bench_{pixels}"
    return Dataset(
        name=f"hrbench_{pixels}",
        task="visual_search",
        title=f"HR-Bench {pixels.upper()}: 200 questions, 4 rotations each",
        source=f"Hugging Face DreamMr/HR-Bench: {file}.parquet (or .tsv)",
        size=size,
        licence="other (the licence file of the source is empty)",
        citation="Wang et al. 2024, HR-Bench, arXiv:2408.15556",
        forms=(
            Form(options.HRBENCH, {"test": f"{file}.parquet"}),
            Form(options.HRBENCH, {"test": f"{file}.tsv"}),
        ),
        counts={"test": 800},
        categories={"single": 400, "cross": 400},
        hub="DreamMr/HR-Bench",
        hub_files=(f"{file}.parquet",),
        sample="hrbench",
    )


_VSTAR_FILES = "direct_attributes/*.json|relative_position/*.json"
_SEARCH = (
    Dataset(
        name="vstar",
        task="visual_search",
        title="V*Bench: small objects in large photographs",
        source="Hugging Face craigwu/vstar_bench (hub jsonl or original folders)",
        size=_UNKNOWN,
        licence="MIT",
        citation="Wu and Xie 2023, V*, arXiv:2312.14135",
        forms=(
            Form(options.VSTAR_HUB, {"test": "test_questions.jsonl"}),
            Form(
                options.VSTAR,
                {"test": "direct_attributes/*.json|relative_position/*.json"},
                box="xywh_pixels",
            ),
            _in_release("visual_search", "vstar/vstarbench_test.jsonl", "test"),
        ),
        counts={"test": 191},
        categories={"direct_attributes": 115, "relative_position": 76},
        hub="craigwu/vstar_bench",
        hub_files=("*",),
        sample="vstar",
    ),
    _hrbench("4k", "430 MB"),
    _hrbench("8k", "2.83 GB"),
    Dataset(
        name="visualprobe",
        task="visual_search",
        title="VisualProbe of Mini-o3: easy, medium, hard",
        source="Hugging Face Mini-o3/VisualProbe_{Easy,Medium,Hard}, three folders side by side",
        size="about 1.4 GB",
        licence=_UNKNOWN,
        citation="Lai et al. 2025, Mini-o3, arXiv:2509.07969",
        forms=(
            Form(
                released.VISUALPROBE,
                {level.lower(): f"VisualProbe_{level}/val.json" for level in ("Easy", "Medium", "Hard")},
                keys=Keys(answer="solution"),
            ),
        ),
        counts={"easy": 141, "medium": 268, "hard": 106},
        sample="open",
    ),
    Dataset(
        name="realworldqa",
        task="visual_search",
        title="RealWorldQA",
        source="Hugging Face lmms-lab/RealWorldQA: data/test-*.parquet",
        size=_UNKNOWN,
        licence="CC BY-ND 4.0",
        citation="xAI 2024, RealWorldQA",
        forms=(Form(options.REALWORLDQA, {"test": "test-*.parquet"}),),
        counts={"test": 765},
        hub="lmms-lab/RealWorldQA",
        hub_files=("data/test-*.parquet",),
    ),
    Dataset(
        name="mmmu",
        task="visual_search",
        title="MMMU validation, 30 subjects",
        source="Hugging Face MMMU/MMMU: */validation-*.parquet",
        size=_UNKNOWN,
        licence="Apache-2.0",
        citation="Yue et al. 2023, MMMU, arXiv:2311.16502",
        forms=(Form(options.MMMU, {"validation": "*/validation-*.parquet"}),),
        counts={"validation": 900},
        hub="MMMU/MMMU",
        hub_files=("*/validation-*.parquet",),
        sample="mmmu",
    ),
)


def _platforms(ending: str) -> str:
    return "|".join(f"screenspot_{platform}{ending}.json" for platform in ("mobile", "desktop", "web"))


def _screenspot_pro(name: str, title: str, source: str, **more) -> Dataset:
    return Dataset(
        name=name,
        task="web_grounding",
        title=title,
        source=source,
        size=_UNKNOWN,
        licence=_UNKNOWN,
        citation="Li et al. 2025, ScreenSpot-Pro, arXiv:2504.07981",
        counts={"test": 1581},
        sample="pro",
        **more,
    )


_PRO_FORM = Form(screens.SCREENSPOT_PRO, {"test": "annotations/*.json"})
_WEB = (
    Dataset(
        name="screenspot_v1",
        task="web_grounding",
        title="ScreenSpot",
        source="SeeClick release: screenspot_{mobile,desktop,web}.json and the folder screenspot_imgs",
        size=_UNKNOWN,
        licence="Apache-2.0",
        citation="Cheng et al. 2024, SeeClick, arXiv:2401.10935",
        forms=(Form(screens.SCREENSPOT, {"test": _platforms("")}, box="xywh_pixels"),),
        counts={"test": 1272},
        sample="screen",
    ),
    Dataset(
        name="screenspot_v2",
        task="web_grounding",
        title="ScreenSpot-V2, corrected annotations",
        source="Hugging Face OS-Copilot/ScreenSpot-v2: screenspot_*_v2.json, screenspotv2_image.zip",
        size=_UNKNOWN,
        licence="Apache-2.0",
        citation="Wu et al. 2024, OS-ATLAS, arXiv:2410.23218",
        forms=(
            Form(screens.SCREENSPOT, {"test": _platforms("_v2")}, box="xywh_pixels"),
            _in_release("web_grounding", "ScreenSpot-V2/screenspot_v2_test.jsonl", "test"),
        ),
        counts={"test": 1272},
        hub="OS-Copilot/ScreenSpot-v2",
        hub_files=("*.json", "*.zip"),
        sample="screen",
    ),
    _screenspot_pro(
        "screenspot_pro",
        "ScreenSpot-Pro, professional applications",
        "Hugging Face likaixin/ScreenSpot-Pro: annotations/*.json, images/",
        forms=(_PRO_FORM, _in_release("web_grounding", "ScreenSpot-Pro/screenspot_pro_test.jsonl", "test")),
        hub="likaixin/ScreenSpot-Pro",
        hub_files=("annotations/*", "images/*"),
    ),
    _screenspot_pro(
        "screenspot_pro_lr",
        "ScreenSpot-Pro, images and boxes reduced to at most 1920 x 1920 pixels",
        "your own reduction of ScreenSpot-Pro, in its layout",
        forms=(_PRO_FORM,),
    ),
    Dataset(
        name="os_atlas",
        task="web_grounding",
        title="OS-ATLAS grounding elements",
        source="Hugging Face OS-Copilot/OS-Atlas-data: {mobile,desktop,web}_domain, images unpacked",
        size="816 GB with all images",
        licence="Apache-2.0 (parts under terms of their own)",
        citation="Wu et al. 2024, OS-ATLAS, arXiv:2410.23218",
        forms=(Form(screens.OS_ATLAS, {"train": "*_domain/*.json"}, box="xyxy_shares"),),
        sample="atlas",
    ),
    Dataset(
        name="visualwebarena",
        task="web_action",
        title="VisualWebArena steps recorded offline: screenshot with marks, next action",
        source="your own recordings: RL records in visualwebarena/visualwebarena_steps.jsonl",
        size="-",
        licence="MIT (tasks)",
        citation="Koh et al. 2024, VisualWebArena, arXiv:2401.13649",
        forms=(Form(released.RL_JSONL, {"test": "visualwebarena/visualwebarena_steps.jsonl"}),),
        sample="action",
    ),
)

BENCHMARKS = (*_SPATIAL, *_SEARCH, *_WEB)
