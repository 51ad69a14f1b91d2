# Tests of filter-perl that need no server: perl t/bridge.t
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Spec     ();
use File::Temp     qw(tempdir);
use Test::More;

my $bridge = File::Spec->rel2abs(dirname(__FILE__) . '/../filter-perl');
my $dir    = tempdir(CLEANUP => 1);
my $head   = "config|protocol|0.7\nconfig|ready\n";
my $id     = '5e55000000000001';

sub ask    { return "filter|0.7|1.000001|smtp-in|$_[0]|$id|$_[1]|$_[2]\n" }
sub report { return "report|0.7|1.000001|smtp-in|$_[0]|$id" . (@_ > 1 ? "|$_[1]" : '') . "\n" }
sub slurp  { my ($f) = @_; open my $h, '<', $f or die "$f: $!"; local $/; return scalar <$h> }
sub spew   { my ($f, $t) = @_; open my $h, '>', $f or die "$f: $!"; print $h $t; close $h or die "$f: $!" }

# Runs a script on input; gives its answers behind the registrations, its log
# and its exit status.
sub run {
    my ($script, $input) = @_;
    spew("$dir/script.pl", "use strict; use warnings;\n$script\n1;\n");
    spew("$dir/in", $input);
    system("'$bridge' '$dir/script.pl' < '$dir/in' > '$dir/out' 2> '$dir/log'");
    my $status = $? >> 8;
    my $out    = slurp("$dir/out");
    my $asked  = $out =~ s/\A(.*register\|ready\n)//s ? $1 : '';
    return ($out, slurp("$dir/log"), $status, $asked);
}

my ($out, $log, $status, $asked);

($out, $log, $status, $asked) = run('sub on_helo { smtpd::filter_api_accept $_[0] }', $head);
is $asked, "register|report|smtp-in|link-disconnect\nregister|filter|smtp-in|helo\nregister|filter|smtp-in|ehlo\nregister|ready\n",
    'only what is defined is registered';
is $status, 0, 'the end of input is a good end';

($out) = run('sub on_helo { smtpd::filter_api_reject $_[0], smtpd::FILTER_FAIL }', $head . ask('helo', 'a1', 'x'));
is $out, "filter-result|$id|a1|reject|550 5.7.1 Refused by a filter\n", 'reject without a code';

($out) = run('sub on_helo { smtpd::filter_api_reject $_[0], smtpd::FILTER_CLOSE }', $head . ask('helo', 'a1', 'x'));
like $out, qr/\|disconnect\|550 /, 'FILTER_CLOSE drops the client';

($out) = run('sub on_helo { smtpd::filter_api_reject_code $_[0], 1, 450, "a\nb" }', $head . ask('helo', 'a1', 'x'));
is $out, "filter-result|$id|a1|reject|450 a b\n", 'control bytes of a reply become spaces';

for my $code (250, 399, 600, '55', '5500', 'x') {
    ($out, $log, $status) = run("sub on_helo { smtpd::filter_api_reject_code \$_[0], 1, '$code', 'x' }", $head . ask('helo', 'a1', 'x'));
    is $status, 1, "code $code ends the filter";
    like $log, qr/code of 400 to 599, not '\Q$code\E'/, "code $code: the log says why";
}

($out, $log, $status) = run('sub on_helo { smtpd::filter_api_accept $_[0]; smtpd::filter_api_accept $_[0] }', $head . ask('helo', 'a1', 'x'));
is $status, 1, 'a second answer ends the filter';
is $out, "filter-result|$id|a1|proceed\n", 'the first answer stands';
like $log, qr/answered already/, 'the log says so';

($out, $log, $status) = run('sub inner { die "oh no" } sub on_helo { inner(7) }', $head . ask('helo', 'a1', 'x'));
is $status, 1, 'a script that dies is a filter that died';
like $log, qr/oh no at .*inner\(7\)/s, 'with its stack in the log';

($out, $log) = run('sub on_helo { print "hello\n"; system "echo child"; smtpd::filter_api_accept $_[0] }', $head . ask('helo', 'a1', 'x'));
is $out, "filter-result|$id|a1|proceed\n", 'what is printed does not reach the protocol';
is $log, "hello\nchild\n", 'it reaches the log';

# Answers later, from another hook.
($out) = run('my $first; sub on_connect { $first = $_[0] } sub on_commit { smtpd::filter_api_accept $_[0] }
    sub on_disconnect { smtpd::filter_api_accept $_[0]; smtpd::filter_api_accept $_[0] }',
    $head . ask('connect', 'a1', 'h|192.0.2.1') . report('tx-commit', '0badcafe|1') . report('link-disconnect'));
is $out, "filter-result|$id|a1|proceed\n", 'an answer may come later; in events it means nothing';

# Lines may be written until on_eom is answered.
($out) = run('my @l; sub on_dataline { push @l, $_[1] } sub on_eom { my ($id, $n) = @_;
    smtpd::filter_api_writeln $id, "X-Size: $n"; smtpd::filter_api_writeln $id, $_ for @l; smtpd::filter_api_accept $id }',
    $head . ask('data-line', 'd1', '..x') . ask('data-line', 'd1', 'y') . ask('data-line', 'd1', '.') . ask('commit', 'c1', ''));
is $out, join('', map { "filter-dataline|$id|d1|$_\n" } 'X-Size: 5', '..x', 'y', '.') . "filter-result|$id|c1|proceed\n",
    'a message may be kept and written at its end';

($out, $log, $status) = run('sub on_helo { smtpd::filter_api_writeln $_[0], "x" }', $head . ask('helo', 'a1', 'x'));
is $status, 1, 'writeln outside a message ends the filter';

($out) = run('sub on_dataline { smtpd::filter_api_writeln $_[0], $_[1] }', $head
    . ask('data-line', 'd1', "caf\xe9 \x00|x") . ask('data-line', 'd1', '.'));
is $out, "filter-dataline|$id|d1|caf\xe9 \x00|x\nfilter-dataline|$id|d1|.\n", 'bytes stay bytes';

# The size of the server, if it offers to tell and no line comes by.
($out, $log, $status, $asked) = run('sub on_eom { smtpd::filter_api_reject_code $_[0], 1, 550, "size $_[1]" }',
    "config|feature|message-size\nconfig|ready\n" . ask('commit', 'c1', '4711'));
like $asked, qr/^register\|feature\|message-size$/m, 'the size is asked for if it is offered';
like $out, qr/size 4711/, 'and given to on_eom';

for my $line ("garbage\n", "filter|0.7|1.0|smtp-in|helo\n", ask('noop', 'a', ''), "report|0.7|1.0|smtp-in|tx-mail\n", "filter|0.7|1.0|smtp-in|helo|xyz|a|b\n") {
    my $ready = $line eq "garbage\n" ? '' : $head;
    ($out, $log, $status) = run('sub on_helo { }', $ready . $line);
    is $status, 1, "the server breaks the protocol: $line";
    like $log, qr/broke the protocol/, 'and the log says so';
}

($out, $log, $status) = run('1', $head);
is $status, 1, 'a script without hooks does not start';

($out, $log, $status) = run('sub on_helo { }', 'config|protocol|0.7');
is $status, 1, 'a server that ends before it is ready is an error';

done_testing;
