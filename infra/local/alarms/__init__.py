"""How alarms are judged on the local stack: pure functions, used by fixes/alarm_evaluation.py and its neighbours."""
