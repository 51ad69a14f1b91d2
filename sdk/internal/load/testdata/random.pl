# Keeps a thousand questions, and answers them in a random order.
use strict;
use warnings;
use List::Util qw(shuffle);

my @waiting;

sub on_helo {
    push @waiting, [@_];
    return if @waiting < 1000;
    smtpd::filter_api_reject_code $_->[0], smtpd::FILTER_FAIL, 450, $_->[1] for shuffle @waiting;
    @waiting = ();
    return;
}

1;
