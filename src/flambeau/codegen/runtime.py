"""Functions of our own that a module may need, as LLVM IR: the error record of a `Check`, and the fma of doubles (in
128-bit integer arithmetic) for a target without the instruction."""

_FMA = """define internal double @flambeau.fma.f64(double %a, double %b, double %c) #1 {
  %product = fmul double %a, %b
  %simple = fadd double %product, %c
  %ia = bitcast double %a to i64
  %ib = bitcast double %b to i64
  %ic = bitcast double %c to i64
  %sa = and i64 %ia, 9223372036854775807
  %sb = and i64 %ib, 9223372036854775807
  %sc = and i64 %ic, 9223372036854775807
  %a0 = icmp eq i64 %sa, 0
  %b0 = icmp eq i64 %sb, 0
  %c0 = icmp eq i64 %sc, 0
  %ai = icmp uge i64 %sa, 9218868437227405312
  %bi = icmp uge i64 %sb, 9218868437227405312
  %ci = icmp uge i64 %sc, 9218868437227405312
  %t1 = or i1 %a0, %b0
  %t2 = or i1 %ai, %bi
  %t3 = or i1 %t1, %t2
  %plain = or i1 %t3, %ci
  br i1 %plain, label %isplain, label %finite
isplain:
  ret double %simple
finite:
  br i1 %c0, label %iszero, label %exact
iszero:
  ret double %product
exact:
  ; mantissas in [2**52, 2**53) and the exponent of their last bit
  %za = call i64 @llvm.ctlz.i64(i64 %sa, i1 true)
  %zb = call i64 @llvm.ctlz.i64(i64 %sb, i1 true)
  %zc = call i64 @llvm.ctlz.i64(i64 %sc, i1 true)
  %ma = call i64 @flambeau.mantissa(i64 %sa, i64 %za)
  %mb = call i64 @flambeau.mantissa(i64 %sb, i64 %zb)
  %mc = call i64 @flambeau.mantissa(i64 %sc, i64 %zc)
  %ea = call i64 @flambeau.exponent(i64 %sa, i64 %za)
  %eb = call i64 @flambeau.exponent(i64 %sb, i64 %zb)
  %ec = call i64 @flambeau.exponent(i64 %sc, i64 %zc)
  %wa = zext i64 %ma to i128
  %wb = zext i64 %mb to i128
  %wc = zext i64 %mc to i128
  %wp = mul i128 %wa, %wb
  %p = shl i128 %wp, 20
  %q = shl i128 %wc, 73
  %eab = add i64 %ea, %eb
  %ep = sub i64 %eab, 20
  %eq = sub i64 %ec, 73
  %ahead = icmp sge i64 %ep, %eq
  %e = select i1 %ahead, i64 %ep, i64 %eq
  %dp = sub i64 %e, %ep
  %dq = sub i64 %e, %eq
  %p2 = call i128 @flambeau.shift(i128 %p, i64 %dp)
  %q2 = call i128 @flambeau.shift(i128 %q, i64 %dq)
  %sign = xor i64 %ia, %ib
  %negp = icmp slt i64 %sign, 0
  %negq = icmp slt i64 %ic, 0
  %mp = sub i128 0, %p2
  %mq = sub i128 0, %q2
  %p3 = select i1 %negp, i128 %mp, i128 %p2
  %q3 = select i1 %negq, i128 %mq, i128 %q2
  %sum = add i128 %p3, %q3
  %zero = icmp eq i128 %sum, 0
  br i1 %zero, label %cancel, label %round
cancel:
  ret double 0.0
round:
  %neg = icmp slt i128 %sum, 0
  %minus = sub i128 0, %sum
  %size = select i1 %neg, i128 %minus, i128 %sum
  %lz = call i128 @llvm.ctlz.i128(i128 %size, i1 true)
  %norm = shl i128 %size, %lz
  %lz64 = trunc i128 %lz to i64
  %e1 = sub i64 %e, %lz64
  ; the value is norm * 2**e1 with norm in [2**127, 2**128); biased exponent of its leading bit
  %biased = add i64 %e1, 1150
  %lack = sub i64 1, %biased
  %deep0 = call i64 @llvm.smax.i64(i64 %lack, i64 0)
  %deep = call i64 @llvm.smin.i64(i64 %deep0, i64 60)
  %high = lshr i128 %norm, 64
  %low = trunc i128 %norm to i64
  %lost = icmp ne i64 %low, 0
  %sticky = zext i1 %lost to i128
  %top = or i128 %high, %sticky
  %deepw = zext i64 %deep to i128
  %drop = add i128 %deepw, 11
  %kept = lshr i128 %top, %drop
  %unit = shl i128 1, %drop
  %ones = sub i128 %unit, 1
  %rem = and i128 %top, %ones
  %half = lshr i128 %unit, 1
  %above = icmp ugt i128 %rem, %half
  %tie = icmp eq i128 %rem, %half
  %isodd = trunc i128 %kept to i1
  %tieup = and i1 %tie, %isodd
  %up = or i1 %above, %tieup
  %upw = zext i1 %up to i64
  %kept64 = trunc i128 %kept to i64
  %m = add i64 %kept64, %upw
  %e2 = sub i64 %biased, 1
  %e3 = call i64 @llvm.smax.i64(i64 %e2, i64 0)
  %e4 = call i64 @llvm.smin.i64(i64 %e3, i64 2046)
  %field = shl i64 %e4, 52
  %bits0 = add i64 %field, %m
  %big = icmp uge i64 %bits0, 9218868437227405312
  %bits = select i1 %big, i64 9218868437227405312, i64 %bits0
  %signbit = select i1 %neg, i64 -9223372036854775808, i64 0
  %out = or i64 %bits, %signbit
  %result = bitcast i64 %out to double
  ret double %result
}
define internal i64 @flambeau.mantissa(i64 %size, i64 %zeros) alwaysinline nounwind {
  %fraction = and i64 %size, 4503599627370495
  %normal = or i64 %fraction, 4503599627370496
  %by = sub i64 %zeros, 11
  %is = icmp uge i64 %size, 4503599627370496
  %safe = select i1 %is, i64 0, i64 %by
  %shifted = shl i64 %size, %safe
  %result = select i1 %is, i64 %normal, i64 %shifted
  ret i64 %result
}
define internal i64 @flambeau.exponent(i64 %size, i64 %zeros) alwaysinline nounwind {
  %field = lshr i64 %size, 52
  %normal = sub i64 %field, 1075
  %subnormal = sub i64 -1063, %zeros
  %is = icmp ne i64 %field, 0
  %result = select i1 %is, i64 %normal, i64 %subnormal
  ret i64 %result
}
define internal i128 @flambeau.shift(i128 %x, i64 %by) alwaysinline nounwind {
  ; a right shift whose last bit tells whether anything was lost
  %far = icmp sgt i64 %by, 127
  %most = select i1 %far, i64 127, i64 %by
  %n = zext i64 %most to i128
  %shifted = lshr i128 %x, %n
  %back = shl i128 %shifted, %n
  %lost = icmp ne i128 %back, %x
  %sticky = zext i1 %lost to i128
  %result = or i128 %shifted, %sticky
  ret i128 %result
}
"""
_RECORD = """define internal void @flambeau.record(ptr %record, i64 %code, i64 %value, i64 %position) #1 {
  %old = cmpxchg ptr %record, i64 0, i64 %code monotonic monotonic
  %first = extractvalue { i64, i1 } %old, 1
  br i1 %first, label %write, label %done
write:
  %p1 = getelementptr i64, ptr %record, i64 1
  store i64 %value, ptr %p1
  %p2 = getelementptr i64, ptr %record, i64 2
  store i64 %position, ptr %p2
  br label %done
done:
  ret void
}
"""
_COPY = """define internal void @flambeau.copy.{type}(ptr %to, ptr %from, i64 %n) nounwind noinline {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %p = getelementptr {type}, ptr %from, i64 %i
  %x = load {type}, ptr %p
  %q = getelementptr {type}, ptr %to, i64 %i
  store {type} %x, ptr %q
  %next = add nuw nsw i64 %i, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""
FUNCTIONS = {"flambeau.fma.f64": _FMA, "flambeau.record": _RECORD}
FUNCTIONS |= {f"flambeau.copy.i{bits}": _COPY.format(type=f"i{bits}") for bits in (8, 16, 32, 64)}
"""The text of each function of our own that operations.py may call."""
