"""The other logs of Windows: services, start and shutdown, devices, remote desktop, PowerShell, Sysmon, as a table.

Source: learn.microsoft.com, the pages of the events; the manifests of the providers (`wevtutil get-publisher NAME`);
Sysinternals, Sysmon.
"""

from __future__ import annotations

from typing import Final

from millstream.parsers.log_event import Kind
from millstream.parsers.windows_meaning import Meaning, Table, meaning

_SERVICES: Final = "Service Control Manager"
_LOG: Final = "EventLog"
_SESSIONS: Final = "Microsoft-Windows-TerminalServices-LocalSessionManager"
_CONNECTIONS: Final = "Microsoft-Windows-TerminalServices-RemoteConnectionManager"
_DRIVERS: Final = "Microsoft-Windows-DriverFrameworks-UserMode"
_USER_PNP: Final = "Microsoft-Windows-UserPnp"
_KERNEL_PNP: Final = "Microsoft-Windows-Kernel-PnP"
_POWERSHELL: Final = "Microsoft-Windows-PowerShell"
_SYSMON: Final = "Microsoft-Windows-Sysmon"


def _failed(about: str) -> Meaning:
    return meaning(about, Kind.SERVICE, "failed", success=False, service="param1")


def _session(about: str, kind: Kind | None, action: str) -> Meaning:
    return meaning(about, kind, action, user="User", session="SessionID", source_ip="Address")


def _driver(about: str, action: str) -> Meaning:
    return meaning(about, Kind.DEVICE, action, device="instance InstanceId DeviceInstanceId")


SYSTEM: Final[Table] = {
    (_SERVICES, 7000): _failed("service failed to start"),
    (_SERVICES, 7001): _failed("service failed to start, as another did"),
    (_SERVICES, 7009): meaning("service did not answer", Kind.SERVICE, "failed", success=False, service="param2"),
    (_SERVICES, 7011): meaning("service did not answer", Kind.SERVICE, "failed", success=False, service="param2"),
    (_SERVICES, 7023): _failed("service ended with an error"),
    (_SERVICES, 7024): _failed("service ended with an error of its own"),
    (_SERVICES, 7031): _failed("service ended unexpectedly"),
    (_SERVICES, 7034): _failed("service ended unexpectedly"),
    (_SERVICES, 7036): meaning("service changed its state", Kind.SERVICE, "state_changed", service="param1"),
    (_SERVICES, 7040): meaning(
        "service starts in another way", Kind.SERVICE, "start_type_changed", success=True, service="param1"
    ),
    (_SERVICES, 7045): meaning(
        "service installed", Kind.SERVICE, "installed", success=True, service="ServiceName", command="ImagePath"
    ),
    # --- start and shutdown -----------------------------------------------------------------------------------------
    (_LOG, 6005): meaning("the machine started", Kind.SERVICE, "boot"),
    (_LOG, 6006): meaning("the machine shut down", Kind.SERVICE, "shutdown"),
    (_LOG, 6008): meaning("the last shutdown was unexpected", Kind.SERVICE, "unexpected_shutdown", success=False),
    ("User32", 1074): meaning(
        "shutdown or restart asked for", Kind.SERVICE, "shutdown_requested", user="param7", command="param1"
    ),
    ("Microsoft-Windows-Kernel-Power", 41): meaning("restarted without a shutdown before", None, "unexpected_shutdown"),
    ("Microsoft-Windows-Kernel-General", 12): meaning("the operating system started", None, "kernel_started"),
    ("Microsoft-Windows-Kernel-General", 13): meaning("the operating system shuts down", None, "kernel_stopped"),
    ("Microsoft-Windows-Eventlog", 104): meaning(
        "a log was cleared", Kind.LOG_CLEARED, "log_cleared", success=True, user="SubjectUserName"
    ),
    # --- devices ----------------------------------------------------------------------------------------------------
    (_KERNEL_PNP, 400): meaning("device configured", Kind.DEVICE, "added", device="DeviceInstanceId"),
    (_KERNEL_PNP, 410): meaning("device started", Kind.DEVICE, "started", device="DeviceInstanceId"),
    (_KERNEL_PNP, 420): meaning("device deleted", Kind.DEVICE, "deleted", device="DeviceInstanceId"),
    (_USER_PNP, 20001): meaning(
        "driver of a device installed", Kind.DEVICE, "driver_installed", device="DeviceInstanceID",
        reason="InstallStatus",
    ),
    (_USER_PNP, 20003): meaning(
        "service of a device added", Kind.DEVICE, "service_added", device="DeviceInstanceID", service="ServiceName",
        reason="AddServiceStatus",
    ),
    (_DRIVERS, 2003): _driver("drivers asked to load for a device", "started"),
    (_DRIVERS, 2100): _driver("device told of", "operation"),
    (_DRIVERS, 2102): _driver("device told of, done", "operation"),
    # --- remote desktop; the logon itself is 4624 of the security log -----------------------------------------------
    (_SESSIONS, 21): _session("session begun", Kind.LOGIN, "session_opened"),
    (_SESSIONS, 22): _session("shell of a session begun", None, "shell_started"),
    (_SESSIONS, 23): _session("session ended", Kind.LOGOUT, "session_closed"),
    (_SESSIONS, 24): _session("session left", Kind.LOGOUT, "session_disconnected"),
    (_SESSIONS, 25): _session("session come back to", Kind.LOGIN, "session_reconnected"),
    (_CONNECTIONS, 1149): meaning(
        "remote desktop connection authenticated", Kind.LOGIN, "connection_authenticated", user="Param1",
        source_ip="Param3",
    ),
    # --- what ran ---------------------------------------------------------------------------------------------------
    (_POWERSHELL, 4104): meaning("PowerShell script", None, "script_run", command="ScriptBlockText"),
    (_SYSMON, 1): meaning("process started", None, "process_started", user="User", command="CommandLine Image"),
    (_SYSMON, 3): meaning(
        "network connection", None, "network_connection", user="User", command="Image", source_ip="SourceIp",
        source_port="SourcePort", source_name="SourceHostname",
    ),
    (_SYSMON, 5): meaning("process ended", None, "process_stopped", user="User", command="Image"),
    (_SYSMON, 11): meaning("file made", None, "file_created", user="User", command="Image"),
    (_SYSMON, 22): meaning("name looked up", None, "dns_query", user="User", command="Image"),
}  # fmt: skip
