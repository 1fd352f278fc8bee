"""What programs say, as tables: a message of this shape is a login, that one a device.

General layout:
    shape       one shape of a message, and what it means; a program's table of them
    tables      all tables, and how a message finds its own: one by one, or a column at once
    pam         what PAM writes for many programs
    sshd, become (sudo, su, doas, pkexec), sessions (login, display managers, logind), services (systemd, cron),
    kernel (USB, firewall), accounts (shadow), mail (Postfix, Dovecot), transfer (FTP, rsync, Samba), network (OpenVPN,
    Dropbear, fail2ban, DHCP, DNS, NetworkManager)

A new program is a table in a file here, and a line in `tables`.
"""
