"""Where the log sources of Sigma rules for Windows are: channels, and the events of Sysmon and PowerShell.

Source: github.com/SigmaHQ/sigma-specification, appendix "Taxonomy"; the numbers are those that Sysmon and PowerShell
document (learn.microsoft.com/sysinternals/downloads/sysmon).
"""

from __future__ import annotations

from typing import Final

_APPLOCKER: Final = "Microsoft-Windows-AppLocker"
_SYSMON: Final = "Microsoft-Windows-Sysmon/Operational"
_POWERSHELL: Final = "Microsoft-Windows-PowerShell/Operational"
_POWERSHELL_CLASSIC: Final = "Windows PowerShell"

CHANNELS: Final[dict[str, tuple[str, ...]]] = {
    "application": ("Application",),
    "applocker": (
        f"{_APPLOCKER}/EXE and DLL",
        f"{_APPLOCKER}/MSI and Script",
        f"{_APPLOCKER}/Packaged app-Deployment",
        f"{_APPLOCKER}/Packaged app-Execution",
    ),
    "appmodel-runtime": ("Microsoft-Windows-AppModel-Runtime/Admin",),
    "appxdeployment-server": ("Microsoft-Windows-AppXDeploymentServer/Operational",),
    "appxpackaging-om": ("Microsoft-Windows-AppxPackaging/Operational",),
    "bits-client": ("Microsoft-Windows-Bits-Client/Operational",),
    "capi2": ("Microsoft-Windows-CAPI2/Operational",),
    "codeintegrity-operational": ("Microsoft-Windows-CodeIntegrity/Operational",),
    "dhcp": ("Microsoft-Windows-DHCP-Server/Operational",),
    "diagnosis-scripted": ("Microsoft-Windows-Diagnosis-Scripted/Operational",),
    "dns-server": ("DNS Server",),
    "dns-server-audit": ("Microsoft-Windows-DNS-Server/Audit",),
    "driver-framework": ("Microsoft-Windows-DriverFrameworks-UserMode/Operational",),
    "firewall-as": ("Microsoft-Windows-Windows Firewall With Advanced Security/Firewall",),
    "lsa-server": ("Microsoft-Windows-LSA/Operational",),
    "msexchange-management": ("MSExchange Management",),
    "ntlm": ("Microsoft-Windows-NTLM/Operational",),
    "openssh": ("OpenSSH/Operational",),
    "powershell": (_POWERSHELL,),
    "powershell-classic": (_POWERSHELL_CLASSIC,),
    "printservice-admin": ("Microsoft-Windows-PrintService/Admin",),
    "printservice-operational": ("Microsoft-Windows-PrintService/Operational",),
    "security": ("Security",),
    "security-mitigations": (
        "Microsoft-Windows-Security-Mitigations/Kernel Mode",
        "Microsoft-Windows-Security-Mitigations/User Mode",
    ),
    "shell-core": ("Microsoft-Windows-Shell-Core/Operational",),
    "smbclient-connectivity": ("Microsoft-Windows-SmbClient/Connectivity",),
    "smbclient-security": ("Microsoft-Windows-SmbClient/Security",),
    "sysmon": (_SYSMON,),
    "system": ("System",),
    "taskscheduler": ("Microsoft-Windows-TaskScheduler/Operational",),
    "terminalservices-localsessionmanager": ("Microsoft-Windows-TerminalServices-LocalSessionManager/Operational",),
    "windefend": ("Microsoft-Windows-Windows Defender/Operational",),
    "wmi": ("Microsoft-Windows-WMI-Activity/Operational",),
}
"""Service of a rule -> the channels it is about."""

CATEGORIES: Final[dict[str, tuple[tuple[str, tuple[int, ...]], ...]]] = {
    "process_creation": (("Security", (4688,)), (_SYSMON, (1,))),
    "clipboard_capture": ((_SYSMON, (24,)),),
    "create_remote_thread": ((_SYSMON, (8,)),),
    "create_stream_hash": ((_SYSMON, (15,)),),
    "dns_query": ((_SYSMON, (22,)),),
    "driver_load": ((_SYSMON, (6,)),),
    "file_block_executable": ((_SYSMON, (27,)),),
    "file_block_shredding": ((_SYSMON, (28,)),),
    "file_change": ((_SYSMON, (2,)),),
    "file_delete": ((_SYSMON, (23, 26)),),
    "file_event": ((_SYSMON, (11,)),),
    "file_executable_detected": ((_SYSMON, (29,)),),
    "image_load": ((_SYSMON, (7,)),),
    "network_connection": ((_SYSMON, (3,)),),
    "pipe_created": ((_SYSMON, (17, 18)),),
    "process_access": ((_SYSMON, (10,)),),
    "process_tampering": ((_SYSMON, (25,)),),
    "process_termination": ((_SYSMON, (5,)),),
    "ps_classic_provider_start": ((_POWERSHELL_CLASSIC, (600,)),),
    "ps_classic_start": ((_POWERSHELL_CLASSIC, (400,)),),
    "ps_module": ((_POWERSHELL, (4103,)),),
    "ps_script": ((_POWERSHELL, (4104,)),),
    "raw_access_thread": ((_SYSMON, (9,)),),
    "registry_add": ((_SYSMON, (12,)),),
    "registry_delete": ((_SYSMON, (12,)),),
    "registry_event": ((_SYSMON, (12, 13, 14)),),
    "registry_rename": ((_SYSMON, (14,)),),
    "registry_set": ((_SYSMON, (13,)),),
    "sysmon_error": ((_SYSMON, (255,)),),
    "sysmon_status": ((_SYSMON, (4, 16)),),
    "wmi_event": ((_SYSMON, (19, 20, 21)),),
}
"""Category of a rule -> channels, and the numbers of its events there."""


def where_of(service: str | None, category: str | None) -> str | None:
    """Return which events are of a log source, as a condition; None for one that is not known."""
    parts: list[str] = []
    if category is not None:
        found = CATEGORIES.get(category)
        if found is None:
            return None
        parts.append(" OR ".join(_events(channel, numbers) for channel, numbers in found))
    if service is not None:
        channels = CHANNELS.get(service)
        if channels is None:
            return None
        parts.append(_is_one_of("fields.channel", channels))
    return " AND ".join(f"({part})" for part in parts) or "fields.event_id IS NOT NULL"


def _events(channel: str, numbers: tuple[int, ...]) -> str:
    number = _is_one_of("fields.event_id", tuple(str(number) for number in numbers))
    return f"({_is_one_of('fields.channel', (channel,))} AND {number})"


def _is_one_of(field: str, values: tuple[str, ...]) -> str:
    if len(values) == 1:
        return f"{field} = '{values[0]}'"
    return f"{field} IN ({', '.join(repr(value) for value in values)})"
