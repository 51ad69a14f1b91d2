# Says accept to every HELO and returns every line.
use strict;
use warnings;

sub on_helo     { return smtpd::filter_api_accept $_[0] }
sub on_dataline { return smtpd::filter_api_writeln $_[0], $_[1] }

1;
