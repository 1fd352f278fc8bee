"""All kinds of `[[step]]`.

A new kind is a `StepTable` with a tag, its name here, and its part of docs/logs-steps.md.
"""

from __future__ import annotations

from millstream.logs.steps.chain import RouteTable
from millstream.logs.steps.changes import (
    HostTable,
    ParseTable,
    ReceivedTable,
    RemoveTable,
    RenameTable,
    SetTable,
)
from millstream.logs.steps.computing import ComputeTable
from millstream.logs.steps.dns import DnsTable
from millstream.logs.steps.geoip import GeoIpTable
from millstream.logs.steps.lookup import LookupTable
from millstream.logs.steps.redact import RedactTable
from millstream.logs.steps.thinning import DedupeTable, FilterTable, LimitTable, SampleTable
from millstream.logs.steps.time_repair import TimeTable
from millstream.logs.steps.unpacking import UnpackTable
from millstream.logs.steps.useragent import UserAgentTable

StepKind = (
    RedactTable
    | FilterTable
    | SampleTable
    | DedupeTable
    | LimitTable
    | RouteTable
    | SetTable
    | ComputeTable
    | RenameTable
    | RemoveTable
    | HostTable
    | ReceivedTable
    | TimeTable
    | ParseTable
    | UnpackTable
    | DnsTable
    | GeoIpTable
    | UserAgentTable
    | LookupTable
)
