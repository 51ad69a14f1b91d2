# The filter of protocol/transcripts/README.md, with the article's hooks.
use strict;
use warnings;

my (%sender, %refuse);

sub fail { return smtpd::filter_api_reject_code($_[0], smtpd::FILTER_FAIL, $_[1], $_[2]) }

sub decide {
    my ($id, $argument) = @_;
    return fail($id, 550, '5.7.1 refused by the filter')  if $argument =~ /refused/;
    return fail($id, 451, '4.7.1 later, says the filter') if $argument =~ /later/;
    return smtpd::filter_api_reject_code($id, smtpd::FILTER_CLOSE, 421, '4.7.0 dropped by the filter')
        if $argument =~ /dropped/;
    return smtpd::filter_api_accept $id;
}

sub on_connect { my ($id, undef, undef, $hostname) = @_; return decide($id, $hostname) }
sub on_helo    { return decide(@_) }
sub on_rcpt    { return decide(@_) }

sub on_mail {
    my ($id, $address) = @_;
    $sender{$id} = $address;
    delete $refuse{$id};
    return decide($id, $address);
}

sub on_data {
    my ($id) = @_;
    return $sender{$id} =~ /\Ano-data@/ ? fail($id, 550, '5.7.1 no data from there') : smtpd::filter_api_accept $id;
}

sub on_dataline {
    my ($id, $line) = @_;
    $refuse{$id} = 1 if $line eq 'X-Refuse: yes';
    return if $line =~ /\AX-Drop:/;
    smtpd::filter_api_writeln $id, $line;
    smtpd::filter_api_writeln $id, $line if $line =~ /\AX-Double:/;
    return;
}

sub on_eom {
    my ($id) = @_;
    return $refuse{$id} ? fail($id, 550, '5.7.1 refused for what it says') : smtpd::filter_api_accept $id;
}

sub on_disconnect {
    my ($id) = @_;
    delete $sender{$id};
    delete $refuse{$id};
    return;
}

1;
