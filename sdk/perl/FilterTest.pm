# FilterTest: tests of a script without a server.
#
#     use FilterTest;
#     use Test::More;
#
#     my $client = FilterTest->new('decide.pl')->session;
#     is $client->mail('a@spam.example'), 'reject|550 5.7.1 No mail from there, please';
#     my ($out, $answer) = $client->message("Subject: hi\n\n");
#
# An answer is what the protocol says: 'proceed', 'reject|CODE TEXT',
# 'disconnect|CODE TEXT'; undef while there is none. What the script did not
# define is answered 'proceed'. The script's hooks are subs of main: a test
# program has one script.
package FilterTest;

use strict;
use warnings;
use File::Basename qw(dirname);
use File::Spec     ();

our $said = '';    # what the script answered

sub new {
    my ($class, $script, %option) = @_;
    my $bridge = File::Spec->rel2abs(dirname(__FILE__) . '/filter-perl');
    require $bridge;
    smtpd::_into(\$said);
    my $why = smtpd::_load($script);
    die $why if defined $why;
    my $self = bless { in => '', sessions => 0 }, $class;
    my @features = @{ $option{features} || ['message-size'] };
    $self->feed(join '', "config|protocol|0.7\n", (map {"config|feature|$_\n"} @features), "config|ready\n");
    $self->{registered} = { map { $_ => 1 } $said =~ /^register\|(.*)$/mg };
    return $self;
}

# Gives the script lines of the protocol.
sub feed {
    my ($self, $text) = @_;
    $self->{in} .= $text;
    smtpd::_take(\$self->{in});
    return;
}

# Begins a session: hostname, remote and local may be given.
sub session {
    my ($self, %option) = @_;
    my %s = (hostname => 'client.example', remote => '192.0.2.1', local => '198.51.100.1', %option);
    my $c = bless { %s, server => $self, tokens => 0, id => ++$self->{sessions} }, 'FilterTest::Session';
    $c->{key} = sprintf '%016x', $c->{id};
    $c->report('link-connect', "$s{hostname}|pass|$s{remote}:4321|$s{local}:25");
    $c->report('link-greeting', 'mx.example');
    return $c;
}

package FilterTest::Session;

my $head = '0.7|1700000000.000000|smtp-in';

# What hooks are given.
sub id { return $_[0]{id} }

# Tells the script of an event, if it wants to know.
sub report {
    my ($self, $event, @fields) = @_;
    return unless $self->{server}{registered}{"report|smtp-in|$event"};
    return $self->{server}->feed(join('|', 'report', $head, $event, $self->{key}, @fields) . "\n");
}

# Asks about a phase of the protocol: helo, rcpt-to, commit.
sub ask {
    my ($self, $phase, $argument) = @_;
    return 'proceed' unless $self->{server}{registered}{"filter|smtp-in|$phase"};
    $self->{token} = sprintf '%016x', ++$self->{tokens};
    $self->{server}->feed("filter|$head|$phase|$self->{key}|$self->{token}|"
            . (defined $argument ? $argument : '') . "\n");
    return $self->answer;
}

# The answer to the last question, undef if there is none.
sub answer {
    my ($self) = @_;
    my ($first, @more) = $said =~ /^filter-result\|$self->{key}\|$self->{token}\|(.*)$/mg;
    die "answered more than once: $first, @more" if @more;
    return $first;
}

sub connect    { my ($self) = @_; return $self->ask('connect', "$self->{hostname}|$self->{remote}") }
sub helo       { my ($self, $name) = @_; return $self->ask('ehlo', $name) }
sub mail       { my ($self, $address) = @_; return $self->ask('mail-from', $address) }
sub rcpt       { my ($self, $address) = @_; return $self->ask('rcpt-to', $address) }
sub data       { my ($self) = @_; return $self->ask('data') }
sub commit     { my ($self) = @_; return $self->report('tx-commit', '0badcafe', 1) }
sub rollback   { my ($self) = @_; return $self->report('tx-rollback', '0badcafe') }
sub disconnect { my ($self) = @_; return $self->report('link-disconnect') }

# Sends a message, its lines ended by LF; gives what came out and the answer
# about it.
sub message {
    my ($self, $text) = @_;
    my $out = $text;
    if ($self->{server}{registered}{'filter|smtp-in|data-line'}) {
        my $token = sprintf '%016x', ++$self->{tokens};
        my @lines = $text eq '' ? () : split /\n/, $text, -1;
        pop @lines if @lines && $lines[-1] eq '';
        s/\A\./../ for @lines;
        $self->{server}->feed(join '', map {"filter|$head|data-line|$self->{key}|$token|$_\n"} @lines, '.');
        my @back = $said =~ /^filter-dataline\|$self->{key}\|$token\|(.*)$/mg;
        my $end  = @back && $back[-1] eq '.' ? pop @back : undef;
        s/\A\.// for @back;
        $out = join '', map {"$_\n"} @back;
        return ($out, undef) unless defined $end;
    }
    return ($out, $self->ask('commit', length $out));
}

1;
