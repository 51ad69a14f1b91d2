# Tests of @NAME@ that need no server: prove t/
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Temp     qw(tempdir);
use Test::More;

my $bridge = ($ENV{WEIR_LIBEXEC} // '/usr/local/libexec/weir') . '/filter-perl';
my $script = dirname(__FILE__) . '/../@NAME@.pl';
my $dir    = tempdir(CLEANUP => 1);

# Gives the decision about a sender.
sub ask {
    my ($address) = @_;
    open my $in, '>', "$dir/in" or die "$dir/in: $!";
    print $in "config|protocol|0.7\nconfig|ready\nfilter|0.7|1.0|smtp-in|mail-from|00000000000000ab|01|$address\n";
    close $in or die "$dir/in: $!";
    my ($answer) = grep { /^filter-result/ } `'$bridge' '$script' < '$dir/in'`;
    chomp $answer;
    return (split /\|/, $answer, 4)[3];
}

my $refusal = 'reject|550 5.7.1 No mail from there, please';
is ask('somebody@spam.example'), $refusal, 'the domain is refused';
is ask('somebody@SPAM.Example'), $refusal, 'in either case';
is ask($_), 'proceed', "\"$_\" is not" for 'somebody@notspam.example', 'somebody@spam.example.net', '';
done_testing;
