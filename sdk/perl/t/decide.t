# Tests of example/decide.pl, and of FilterTest: perl t/decide.t
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Spec     ();
use Test::More;

my $sdk;
BEGIN { $sdk = File::Spec->rel2abs(dirname(__FILE__) . '/..') }
use lib $sdk;
use FilterTest;

my $server = FilterTest->new("$sdk/example/decide.pl");
my $c      = $server->session;
is $c->connect, 'proceed', 'what the script does not define proceeds';
is $c->mail('x@SPAM.example'), 'reject|550 5.7.1 No mail from there, please', 'refused by its sender';
is $c->mail('x@example.org'),  'proceed',                                      'others are not';
is_deeply [$c->message("Subject: the Lottery\n\n")],
    ["X-Decide: seen\nSubject: the Lottery\n\n", 'reject|550 5.7.1 No lottery here, please'], 'refused by a word';
$c->rollback;
is_deeply [$c->message("Subject: hi\n\nlottery\n.\n")], ["X-Decide: seen\nSubject: hi\n\nlottery\n.\n", 'proceed'], 'marked';
$c->commit;
is_deeply [$c->message('')], ['', 'proceed'], 'a message without a line';
$c->disconnect;

done_testing;
