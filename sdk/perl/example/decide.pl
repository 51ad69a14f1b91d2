# Refuses mail by its sender and by a word in its subject, and marks the rest.
use strict;
use warnings;

my %state;    # by session: what is known of its message

sub on_mail {
    my ($id, $address) = @_;
    return smtpd::filter_api_reject_code $id, smtpd::FILTER_FAIL, 550, '5.7.1 No mail from there, please'
        if $address =~ /\@spam\.example\z/i;
    return smtpd::filter_api_accept $id;
}

sub on_dataline {
    my ($id, $line) = @_;
    smtpd::filter_api_writeln $id, 'X-Decide: seen' unless $state{$id};
    my $state = $state{$id} ||= {};
    $state->{body} = 1 if $line eq '';
    $state->{lottery} = 1 if !$state->{body} && $line =~ /\Asubject:.*lottery/i;
    return smtpd::filter_api_writeln $id, $line;
}

sub on_eom {
    my ($id, $size) = @_;
    my $state = delete $state{$id};
    return smtpd::filter_api_reject_code $id, smtpd::FILTER_FAIL, 550, '5.7.1 No lottery here, please'
        if $state && $state->{lottery};
    return smtpd::filter_api_accept $id;
}

sub on_rollback   { delete $state{ $_[0] }; return }
sub on_disconnect { delete $state{ $_[0] }; return }

1;
