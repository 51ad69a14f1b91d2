# @NAME@ is a mail filter: it refuses mail from one domain.
use strict;
use warnings;

my $refused = 'spam.example';    # in lower case

# Each question is answered exactly once: here, or later from another hook.
sub on_mail {
    my ($id, $address) = @_;
    if (lc($address) =~ /\@\Q$refused\E\z/) {
        return smtpd::filter_api_reject_code $id, smtpd::FILTER_FAIL, 550, '5.7.1 No mail from there, please';
    }
    return smtpd::filter_api_accept $id;
}

1;
