"""The one door to the lake: raw answers and table files, on local disk or S3.

No other package knows where a file of the lake is, what it is called or how it is replaced.
"""

from charging_assets.lake.errors import InvalidRows, LakeChanged, LakeError, SchemaMismatch
from charging_assets.lake.kind import Kind, WrongKind
from charging_assets.lake.lake import Lake
from charging_assets.lake.partition_file import PartitionFile
from charging_assets.lake.poi_archive import KeptRefresh, PoiArchive, Refresh
from charging_assets.lake.raw import KeptIn
from charging_assets.lake.raw_files import RawRow, RowKey, fingerprint_of
from charging_assets.lake.report_archive import PublishedReport, Question, ReportArchive
from charging_assets.lake.tables import PartitionInfo, PartitionKey, StagedPartition, StageWriter, StoredPartition

__all__ = [
    "InvalidRows",
    "KeptIn",
    "KeptRefresh",
    "Kind",
    "Lake",
    "LakeChanged",
    "LakeError",
    "PartitionFile",
    "PartitionInfo",
    "PartitionKey",
    "PoiArchive",
    "PublishedReport",
    "Question",
    "RawRow",
    "Refresh",
    "ReportArchive",
    "RowKey",
    "SchemaMismatch",
    "StageWriter",
    "StagedPartition",
    "StoredPartition",
    "WrongKind",
    "fingerprint_of",
]
