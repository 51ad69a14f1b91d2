# Prints every callback with what it was given, and lets all mail through.
use strict;
use warnings;

sub on_connect {
    my ($id, $local, $remote, $hostname) = @_;
    printf "on_connect: 0x%x %s %s %s\n", $id, $local, $remote, $hostname;
    return smtpd::filter_api_accept $id;
}

sub on_helo {
    my ($id, $helo) = @_;
    printf "on_helo: 0x%x %s\n", $id, $helo;
    return smtpd::filter_api_accept $id;
}

sub on_mail {
    my ($id, $mail) = @_;
    printf "on_mail: 0x%x %s\n", $id, $mail;
    return smtpd::filter_api_accept $id;
}

sub on_rcpt {
    my ($id, $rcpt) = @_;
    printf "on_rcpt: 0x%x %s\n", $id, $rcpt;
    return smtpd::filter_api_accept $id;
}

sub on_data {
    my ($id) = @_;
    printf "on_data: 0x%x\n", $id;
    return smtpd::filter_api_accept $id;
}

sub on_dataline {
    my ($id, $line) = @_;
    printf "on_dataline: 0x%x %s\n", $id, $line;
    return smtpd::filter_api_writeln $id, $line;
}

sub on_eom {
    my ($id, $size) = @_;
    printf "on_eom: 0x%x %s\n", $id, $size;
    return smtpd::filter_api_accept $id;
}

sub on_commit {
    my ($id) = @_;
    printf "on_commit: 0x%x\n", $id;
    return smtpd::filter_api_accept $id;
}

sub on_rollback {
    my ($id) = @_;
    printf "on_rollback: 0x%x\n", $id;
    return smtpd::filter_api_accept $id;
}

sub on_disconnect {
    my ($id) = @_;
    printf "on_disconnect: 0x%x\n", $id;
    return;
}

1;
