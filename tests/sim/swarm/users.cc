// The verbs of a socket, and what they may answer.
#include <algorithm>

#include "player.h"

namespace warren::swarm {

// What is refused because the connection broke lifts a pause, and those to come. Where the model cannot tell why, it leaves
// the pause, of which it then expects less.
void Player::lift(User& user) {
  const bool broken = user.kernel != nullptr && user.kernel->phase == sim::Phase::broken;
  if (!broken || user.finished || user.group->draining) return;
  user.paused = false;
  user.unpausable = true;
}

// Between its `end` handler and its answer to the peer's end other sockets may be heard, whose users may
// still write to it.
bool Player::isOver(const User& user) const {
  return !user.live() || (user.finished && !user.answering);
}

// What a write of `size` bytes has answered.
void Player::took(User& user, std::ptrdiff_t count, size_t size, bool corked) {
  refresh(user);
  expect(count >= -1 && count <= static_cast<std::ptrdiff_t>(size), user,
         "a write took what it was not given");
  const bool over = isOver(user);
  if (user.failed && noMemory() && user.sealed) return;  // in the middle of it, perhaps
  if (over) expect(count == -1, user, "a write was taken after the end");
  if (count < 0) {
    expect(over || shaky(user), user, "a write was refused for no reason");
    return lift(user);
  }
  if ((!user.opened || shaking(user)) && !corked)
    expect(count == 0, user, "a write was taken while connecting");
  user.sent += static_cast<uint64_t>(count);
  if (static_cast<size_t>(count) < size) user.drainOwed = !user.finished;
}

void Player::write(User& user, size_t size) {
  took(user, user.socket.write(payload(user, size)), size);
}

void Player::writeSink(User& user, size_t size) {
  ArrayBufferSink sink;
  if (!sink.write(payload(user, size))) {
    return static_cast<void>(expect(noMemory(), "a sink took nothing"));
  }
  const std::ptrdiff_t count = user.socket.write(sink);
  const size_t gone = static_cast<size_t>(std::max<std::ptrdiff_t>(count, 0));
  expect(sink.size() == size - gone, user, "a sink kept other bytes than were refused");
  took(user, count, size);
}

void Player::writeCorked(User& user, size_t size) {
  const Cork guard = user.socket.cork();
  for (int part = 0; part < 3; ++part)
    took(user, user.socket.write(payload(user, size / 3)), size / 3, true);
}

void Player::send(User& user, size_t size) {
  const bool over = isOver(user);
  const uint64_t before = user.socket.bytesWritten();
  const bool more = user.socket.send(payload(user, size));
  if (over) return static_cast<void>(expect(!more, user, "send was taken after the end"));
  const uint64_t accepted = user.socket.bytesWritten() - before;
  expect(accepted <= size, user, "send took what it was not given");
  const bool whole = accepted == size;
  expect(whole || !more, user, "send said yes to a part");
  expect(whole || !user.live() || shaky(user), user, "send took a part only");
  user.sent += accepted;
  const bool full = user.socket.unsentBytes() > user.group->highWaterMark;
  if (!more && user.live() && whole && (size > 0 || full)) user.drainOwed = !user.finished;
  if (!more && !whole) lift(user);
}

void Player::end(User& user, size_t size) {
  const bool over = isOver(user);
  const uint64_t before = user.socket.bytesWritten();
  const std::ptrdiff_t count = size > 0 ? user.socket.end(payload(user, size)) : user.socket.end();
  if (over) return static_cast<void>(expect(count == -1, user, "end was taken after the end"));
  user.sent += user.socket.bytesWritten() - before;
  if (count < 0) {
    expect(!user.live() || shaky(user), user, "end was refused for no reason");
    return lift(user);
  }
  expect(count == static_cast<std::ptrdiff_t>(size), user, "end took a part only");
  user.finished = true;
  user.drainOwed = false;
  if (!user.group->halfOpen && !user.boundedAt) user.boundedAt = now();
}

void Player::close(User& user, bool terminate) {
  user.ending = true;
  if (terminate && user.live()) user.terminated = true;
  terminate ? user.socket.terminate() : user.socket.close();
  user.finished = true;
  expect(!user.live(), user, "close did not close");
  expect(user.socket.readyState() == ReadyState::closed, user, "a closed socket says it is none");
}

void Player::setTimeout(User& user, uint64_t milliseconds, bool idle) {
  const Duration span = std::chrono::milliseconds(milliseconds);
  const Result<void> set = idle ? user.socket.idleTimeout(span) : user.socket.timeout(span);
  expect(set ? user.live() : !user.live() || noMemory(), user,
         "a timeout was refused, or taken too late");
  user.timeoutAt.reset();
  if (set && milliseconds > 0) user.timeoutAt = now() + milliseconds * kMillisecond;
  user.idle = idle;
}

// Everything that only asks; none of it may change anything.
void Player::ask(User& user) {
  const ReadyState state = user.socket.readyState();
  if (user.closed || user.refused) {
    expect(state == ReadyState::closed, user, "a closed socket says it is none");
  } else if (!user.opened) {
    expect(state == ReadyState::connecting, user, "a connecting socket says it is none");
  } else {
    const bool ended = user.finished || user.endTold || user.group->draining;
    // By a FIN or, if it is muted and so not told, by close_notify.
    const bool over = user.kernel->readShut || (user.sealed && user.muted);
    const bool heard = over && state != ReadyState::closed;
    expect(ended || heard || state == ReadyState::open, user, "an open socket says it is none");
  }
  if (user.live() && user.opened) {
    refresh(user);
    const TlsFacts facts = user.socket.tls();
    expect(static_cast<bool>(facts) == user.sealed, user, "a socket does not know what it speaks");
    expect((facts.version() != TlsVersion::unknown) == user.agreed, user,
           "a handshake is done and nobody was told, or the other way round");
  }
  static_cast<void>(user.socket.localAddress());
  static_cast<void>(user.socket.remoteAddress());
  static_cast<void>(user.socket.listener().listening());
  static_cast<void>(user.socket.setNoDelay());
  expect(!owned_->dump().empty(), "a dump is empty");
}

void Player::reload(Group& group, User* user) {
  const int before = group.table;
  SocketHandlers<Tag> fresh = handlers(group);
  const int after = group.table;
  const Result<void> done = user != nullptr ? user->socket.reload(std::move(fresh))
                                            : group.listener.reload(std::move(fresh));
  if (user != nullptr)
    expect(static_cast<bool>(done) == user->live(), *user, "reload was refused, or taken too late");
  if (user == nullptr) expect(static_cast<bool>(done), "a listener's reload was refused");
  group.table = done ? after : before;
}

}  // namespace warren::swarm
